//! Dashboards as Grafana reads them: panels in rows, placed one after the other.

use serde_json::{Value, json};

use super::query::Query;

/// What panels ask: every selector follows the variables at the top of the dashboard.
pub(super) const SHOWN: Query<'static> =
    Query { scope: "namespace=~\"$namespace\",job=~\"$job\",instance=~\"$instance\"", window: "$__rate_interval" };

/// Columns of Grafana's grid.
const WIDTH: u32 = 24;

/// A dashboard.
pub(super) struct Dashboard {
    pub(super) title: &'static str,
    /// What it is addressed by; helm replaces it by one of the release's own.
    pub(super) uid: &'static str,
    pub(super) description: &'static str,
    pub(super) rows: Vec<Row>,
}

/// Panels under a heading.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// How a panel draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draw {
    /// One number.
    Number,
    /// Lines over time.
    Lines,
    /// Areas over time, one upon the other.
    Stacked,
    /// How often which values were seen over time, from the buckets of a histogram.
    Heat,
    /// Labels in a table.
    Table,
}

/// One panel: a question and its answer.
pub(super) struct Panel {
    title: &'static str,
    description: &'static str,
    draw: Draw,
    /// Grafana's name of the unit.
    unit: &'static str,
    /// Queries and their legends.
    queries: Vec<(String, &'static str)>,
}

impl Panel {
    /// A panel that asks nothing yet.
    pub(super) fn new(draw: Draw, unit: &'static str, title: &'static str, description: &'static str) -> Panel {
        Panel { title, description, draw, unit, queries: Vec::new() }
    }

    /// With one more query; an empty legend leaves it to the labels.
    pub(super) fn ask(mut self, query: String, legend: &'static str) -> Panel {
        self.queries.push((query, legend));
        self
    }

    fn size(&self) -> (u32, u32) {
        match self.draw {
            Draw::Number => (4, 4),
            Draw::Lines | Draw::Stacked | Draw::Heat => (8, 8),
            Draw::Table => (24, 6),
        }
    }

    fn kind(&self) -> &'static str {
        match self.draw {
            Draw::Number => "stat",
            Draw::Lines | Draw::Stacked => "timeseries",
            Draw::Heat => "heatmap",
            Draw::Table => "table",
        }
    }

    fn targets(&self) -> Vec<Value> {
        let letters = ('A'..='Z').map(String::from);
        let target = |(letter, (query, legend)): (String, &(String, &str))| {
            let format = match self.draw {
                Draw::Heat => "heatmap",
                Draw::Table => "table",
                _ => "time_series",
            };
            json!({
                "datasource": source(),
                "expr": query,
                "format": format,
                "instant": matches!(self.draw, Draw::Number | Draw::Table),
                "range": !matches!(self.draw, Draw::Number | Draw::Table),
                "legendFormat": if legend.is_empty() { "__auto" } else { legend },
                "refId": letter,
            })
        };
        letters.zip(&self.queries).map(target).collect()
    }

    fn options(&self) -> Value {
        match self.draw {
            Draw::Number => json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "none" }),
            Draw::Lines | Draw::Stacked => {
                json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } })
            }
            Draw::Heat => json!({ "calculate": false, "yAxis": { "unit": self.unit }, "legend": { "show": false } }),
            Draw::Table => json!({ "showHeader": true }),
        }
    }

    fn custom(&self) -> Value {
        match self.draw {
            Draw::Lines => json!({ "lineWidth": 1, "fillOpacity": 5, "showPoints": "never" }),
            Draw::Stacked => {
                json!({ "lineWidth": 1, "fillOpacity": 40, "showPoints": "never", "stacking": { "mode": "normal" } })
            }
            Draw::Number | Draw::Heat | Draw::Table => json!({}),
        }
    }

    fn to_json(&self, id: usize, x: u32, y: u32) -> Value {
        let (w, h) = self.size();
        let mut panel = json!({
            "id": id,
            "type": self.kind(),
            "title": self.title,
            "description": self.description,
            "datasource": source(),
            "gridPos": { "x": x, "y": y, "w": w, "h": h },
            "targets": self.targets(),
            "options": self.options(),
            "fieldConfig": {
                "defaults": { "unit": self.unit, "min": 0, "custom": self.custom() },
                "overrides": [],
            },
        });
        if self.draw == Draw::Table {
            // Where the series come from says Prometheus in columns of its own.
            let hidden = ["Time", "Value", "__name__", "container", "endpoint", "pod", "service"];
            let hidden: serde_json::Map<_, _> = hidden.iter().map(|name| (name.to_string(), json!(true))).collect();
            panel["transformations"] = json!([{ "id": "organize", "options": { "excludeByName": hidden } }]);
        }
        panel
    }
}

impl Dashboard {
    /// The dashboard as Grafana imports it.
    pub(super) fn to_json(&self, chosen_by: &str) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["nimify", "inference"],
            "schemaVersion": 39,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "templating": { "list": variables(chosen_by) },
            "panels": self.panels(),
        })
    }

    fn panels(&self) -> Vec<Value> {
        let mut panels = Vec::new();
        let mut top = 0;
        for row in &self.rows {
            let id = panels.len() + 1;
            let place = json!({ "x": 0, "y": top, "w": WIDTH, "h": 1 });
            panels.push(json!({
                "id": id, "type": "row", "title": row.title, "collapsed": false, "gridPos": place, "panels": [],
            }));
            top += 1;
            let (mut left, mut high) = (0, 0);
            for panel in &row.panels {
                let (width, height) = panel.size();
                if left + width > WIDTH {
                    (left, top, high) = (0, top + high, 0);
                }
                panels.push(panel.to_json(panels.len() + 1, left, top));
                left += width;
                high = high.max(height);
            }
            top += high;
        }
        panels
    }
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// What is chosen at the top: the data source, and which series are shown; all of them at first. Services outside a
/// cluster have no namespace, so that `.*` stands for all.
fn variables(chosen_by: &str) -> Vec<Value> {
    let series = |name: &str, label: &str, all: &str, of: &str| {
        let query = format!("label_values({chosen_by}{of}, {name})");
        json!({
            "name": name,
            "label": label,
            "type": "query",
            "datasource": source(),
            "definition": query,
            "query": { "query": query, "refId": "A" },
            "includeAll": true,
            "multi": true,
            "allValue": all,
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            // Looked up anew whenever the time changes: pods come and go.
            "refresh": 2,
            "sort": 1,
        })
    };
    vec![
        json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
        }),
        series("namespace", "Namespace", ".*", ""),
        series("job", "Job", ".+", "{namespace=~\"$namespace\"}"),
        series("instance", "Instance", ".+", "{namespace=~\"$namespace\",job=~\"$job\"}"),
    ]
}
