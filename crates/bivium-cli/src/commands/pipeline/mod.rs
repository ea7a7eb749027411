//! `bivium pipeline`: several plugins, one after another.

mod argument;
mod check;
mod find;
mod list;
mod run;

pub(super) use check::check;
pub(super) use list::list;
pub(super) use run::run;
