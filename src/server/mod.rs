//! The HTTP server: one builder of the application, used by `main` and by tests, and its life from bind to stop.
//!
//! Arrows go down in this list, never up:
//!
//! - `life` and `activity`: serve, tell of the work, stop in order; over `app`: what is done around every answer.
//! - `routes`: what is answered, one file a resource, and the table of them; over `route`, what a row of it is, and
//!   `describe`, what the description of the API says of it.
//! - `scoring`: from a body to the scores of its pairs.
//! - `state`: what the operator decided, the `models`, the metrics. A model is its names, what is `served`, its engine.
//! - `wire`: the words of bodies. `metrics`: what is counted.
//! - `http`: connections, heads, the bytes of bodies, refusals.
//!
//! Imports engine and the leaves prompt, options and error; called by `main`.

mod activity;
mod app;
mod describe;
mod http;
mod life;
mod metrics;
mod models;
mod route;
mod routes;
mod scoring;
mod served;
mod state;
mod wire;

pub use app::app;
pub use http::listen::{Listening, Reserved, reserve, reserve_unix};
pub use http::tls::{Renewal, follow, hang_ups};
pub use life::run;
pub use models::{Model, distinct};
pub use served::Served;
pub use state::{State, THREADS};
