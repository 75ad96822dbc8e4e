//! Promotion against a simulated world: rules one by one, the sentences, and the laws under anything that can happen.

mod failures;
mod laws;
mod places;
mod rules;
mod sentences;
mod sim;
mod words;
