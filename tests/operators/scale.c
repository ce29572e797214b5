/* What `operators.c` needs, in a library of its own: an operator library's own needs have to go into the image too. */
float scaled(float value) { return value * 3; }
