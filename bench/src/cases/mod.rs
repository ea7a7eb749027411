//! The cases: what is compared, with which measures and which goals.

use std::future::Future;
use std::pin::Pin;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::entry::Entry;
use crate::site::Site;

pub mod component;
mod large_data;
mod pipeline_step;
mod program;
mod whole_pipeline;
mod worker;

/// Runs a case.
type Run = for<'a> fn(&'a Site) -> Pin<Box<dyn Future<Output = Result<Vec<Entry>>> + 'a>>;

/// The cases in the order of the report. Two cases with the same name measure the same thing for the two runtimes.
const CASES: &[(&str, Run)] = &[
    (component::warm_call::NAME, |site| Box::pin(component::warm_call::run(site))),
    (component::typed::NAME, |site| Box::pin(component::typed::run(site))),
    (component::fresh::NAME, |site| Box::pin(component::fresh::run(site))),
    (component::start::NAME, |site| Box::pin(component::start::run(site))),
    (worker::unary_call::NAME, |site| Box::pin(worker::unary_call::run(site))),
    (worker::ways::NAME, |site| Box::pin(worker::ways::run(site))),
    (worker::need::NAME, |site| Box::pin(worker::need::run(site))),
    (worker::objects::NAME, |site| Box::pin(worker::objects::run(site))),
    (worker::log::NAME, |site| Box::pin(worker::log::run(site))),
    (component::concurrency::NAME, |site| Box::pin(component::concurrency::run(site))),
    (worker::concurrency::NAME, |site| Box::pin(worker::concurrency::run(site))),
    (worker::start::NAME, |site| Box::pin(worker::start::run(site))),
    (large_data::NAME, |site| Box::pin(large_data::run(site))),
    (component::chunks::NAME, |site| Box::pin(component::chunks::run(site))),
    (component::stream::NAME, |site| Box::pin(component::stream::run(site))),
    (worker::stream::NAME, |site| Box::pin(worker::stream::run(site))),
    (component::cancel::NAME, |site| Box::pin(component::cancel::run(site))),
    (component::storm::NAME, |site| Box::pin(component::storm::run(site))),
    (worker::cancel::NAME, |site| Box::pin(worker::cancel::run(site))),
    (worker::ends::NAME, |site| Box::pin(worker::ends::run(site))),
    (component::density::NAME, |site| Box::pin(component::density::run(site))),
    (worker::density::NAME, |site| Box::pin(worker::density::run(site))),
    (program::NAME, |site| Box::pin(program::run(site))),
    (pipeline_step::NAME, |site| Box::pin(pipeline_step::run(site))),
    (whole_pipeline::NAME, |site| Box::pin(whole_pipeline::run(site))),
];

/// The results of the cases.
#[derive(Default)]
pub struct Results {
    pub entries: Vec<Entry>,
    /// The cases without a result, because our side or the floor failed.
    pub failures: Vec<Failure>,
}

/// A case that failed.
#[derive(Serialize)]
pub struct Failure {
    pub case: &'static str,
    pub reason: String,
}

/// Runs the cases whose names contain `only`. If a case fails, the others are still measured.
///
/// # Errors
/// If there is no such case.
pub async fn run(site: &Site, only: Option<&str>) -> Result<Results> {
    let mut results = Results::default();
    let mut found = false;
    for (name, run) in CASES.iter().filter(|(name, _)| only.is_none_or(|only| name.contains(only))) {
        eprintln!("bench: {name}");
        found = true;
        match run(site).await {
            Ok(entries) => results.entries.extend(entries),
            Err(error) => {
                let reason = format!("{error:#}");
                eprintln!("bench: {name} failed: {reason}");
                results.failures.push(Failure { case: name, reason });
            }
        }
    }
    if !found {
        let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        bail!("no case has that name; there are: {}", names.join(", "));
    }
    Ok(results)
}
