//! Promotion against a simulated world: rules one by one, each strategy, the sentences, and the laws under anything that can happen.

mod adopting;
mod chaos;
mod dependencies;
mod edges;
mod every;
mod experiments;
mod failures;
mod flaps;
mod gates;
mod groups;
mod laws;
mod loosening;
mod matrix;
mod mirroring;
mod places;
mod previews;
mod rules;
mod sentences;
mod sim;
mod stopped;
mod strategies;
mod surge;
mod users;
mod waiting;
mod words;
mod workers;
