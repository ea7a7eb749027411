//! The report: what was done, and how the calls ended.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::calls::{Ended, KINDS};
use crate::harms::Harm;

#[derive(Default)]
pub(crate) struct Tally {
    /// By kind of call and plugin, then by how they ended.
    calls: BTreeMap<(&'static str, &'static str), BTreeMap<String, u64>>,
    harms: BTreeMap<(&'static str, &'static str), u64>,
}

impl Tally {
    pub(crate) fn ended(&mut self, ended: Ended) {
        *self.calls.entry((ended.kind, ended.plugin)).or_default().entry(ended.how).or_default() += 1;
    }

    pub(crate) fn done(&mut self, harm: Harm) {
        *self.harms.entry((harm.name(), harm.plugin())).or_default() += 1;
    }

    /// Checks that every kind of call and harm was in the run; otherwise it has not tested everything.
    pub(crate) fn is_complete(&self) -> Result<()> {
        for (kind, plugins) in KINDS {
            for plugin in *plugins {
                ensure!(self.calls.contains_key(&(*kind, *plugin)), "no {kind} of {plugin} was among the calls");
            }
        }
        Ok(())
    }

    /// How many calls there were.
    pub(crate) fn count(&self) -> u64 {
        self.calls.values().flat_map(BTreeMap::values).sum()
    }

    /// As JSON, for programs.
    pub(crate) fn json(&self) -> Value {
        let calls =
            self.calls.iter().map(|((kind, plugin), ends)| json!({"kind": kind, "plugin": plugin, "ended": ends}));
        let harms =
            self.harms.iter().map(|((harm, plugin), times)| json!({"harm": harm, "plugin": plugin, "times": times}));
        json!({"calls": calls.collect::<Value>(), "harms": harms.collect::<Value>()})
    }

    /// As Markdown, for docs/soak.md.
    pub(crate) fn table(&self) -> String {
        let mut text = "| calls | of | ended |\n| --- | --- | --- |\n".to_owned();
        for ((kind, plugin), ends) in &self.calls {
            let ends: Vec<String> = ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
            text.push_str(&format!("| {kind} | {plugin} | {} |\n", ends.join(", ")));
        }
        text.push_str("\n| done to the host | of | times |\n| --- | --- | --- |\n");
        for ((harm, plugin), times) in &self.harms {
            text.push_str(&format!("| {harm} | {plugin} | {times} |\n"));
        }
        text
    }
}
