//! The misbehaving-worker suite: Python plugins that do what no plugin should do, one test each.
//!
//! Every test checks the error code that the caller gets, that it gets it in time, and by [`Scene::end`] that nothing is left: no
//! process of the plugin and no file in the exchange.

mod calls;
mod replies;
mod results;
mod scene;
mod start;
