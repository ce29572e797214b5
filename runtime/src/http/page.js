"use strict";
// Everything shown is text: names come from a model file that may be anybody's.
const $ = (id) => document.getElementById(id);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
// How the service is, in the bar at the top.
const state = (className, text) => {
  $("state").className = `state ${className}`;
  $("state-text").textContent = text;
};
