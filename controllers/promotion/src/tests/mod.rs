//! Promotion against a simulated world: rules one by one, the sentences, and the laws under anything that can happen.

mod laws;
mod rules;
mod sentences;
mod sim;
