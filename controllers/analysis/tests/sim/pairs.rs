//! Checked pairs of input and output of the method.

use fm_analysis::metrics::mann_whitney;
use fm_analysis::pmix::{self, Counts, Question, Sums};
use fm_analysis::{proportion, quantile};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

/// One pair.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) kind: String,
    input: Value,
    expected: Value,
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let text = include_str!("../reference/pmix_reference.json");
    let reference: Reference = serde_json::from_str(text).unwrap();
    reference.cases
}

/// The greatest error, as a multiple of what is tolerated.
#[derive(Default)]
struct Errors(f64);

impl Errors {
    fn add(&mut self, found: f64, wanted: f64, absolute: f64, relative: f64) {
        let tolerated = absolute.max(relative * wanted.abs()).max(f64::MIN_POSITIVE);
        let error = (found - wanted).abs() / tolerated;
        self.0 = self
            .0
            .max(if error.is_nan() { f64::INFINITY } else { error });
    }

    fn log_e(&mut self, found: f64, wanted: f64) {
        self.add(found, wanted, 1e-9, 1e-9);
    }

    fn bound(&mut self, found: f64, wanted: f64) {
        self.add(found, wanted, 1e-8, 0.0);
    }

    fn probability(&mut self, found: f64, wanted: f64) {
        self.add(found, wanted, 0.0, 1e-6);
    }

    fn same<T: PartialEq>(&mut self, found: T, wanted: T) {
        if found != wanted {
            self.0 = f64::INFINITY;
        }
    }
}

impl Case {
    /// How far off ours is, as a multiple of what is tolerated.
    pub(crate) fn error(&self) -> f64 {
        let mut errors = Errors::default();
        match self.kind.as_str() {
            "pmix" => self.sums(&mut errors),
            "pmix_path" => self.path(&mut errors),
            "cs_diff" => self.difference(&mut errors),
            "beta_binomial_cs" => self.proportion(&mut errors),
            "mann_whitney" => self.ranks(&mut errors),
            "quantile" => self.quantiles(&mut errors),
            // A kind that nobody checks is not met.
            _ => return f64::INFINITY,
        }
        errors.0
    }

    fn input<T: DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.input[name].clone()).unwrap()
    }

    fn expected<T: DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.expected[name].clone()).unwrap()
    }

    fn batches(&self) -> Vec<Counts> {
        let rows: Vec<[u64; 4]> = self.input("batches");
        let counts = rows
            .into_iter()
            .map(|[x, y, n_c, n_s]| Counts { x, y, n_c, n_s });
        counts.collect()
    }

    fn question(&self, errors: &mut Errors) -> Question {
        let side: String = self.input("side");
        let question = match side.as_str() {
            "harm" => Question::Harm,
            _ => Question::NonInferiority,
        };
        errors.same(self.input::<Vec<f64>>("grid"), question.grid().to_vec());
        question
    }

    fn sums(&self, errors: &mut Errors) {
        let question = self.question(errors);
        let mut sums = Sums::default();
        for counts in self.batches() {
            sums.add(question, self.input("r0"), counts);
        }
        for (name, found) in [("S", sums.s), ("C", sums.c)] {
            for (found, wanted) in found.iter().zip(self.expected::<[f64; 6]>(name)) {
                errors.log_e(*found, wanted);
            }
        }
        let (deltas, wanted): (Vec<f64>, Vec<f64>) = (self.input("deltas"), self.expected("log_e"));
        errors.same(deltas.len(), wanted.len());
        for (d, wanted) in deltas.iter().zip(wanted) {
            errors.log_e(sums.log_e(*d, self.input("deff")), wanted);
        }
    }

    fn path(&self, errors: &mut Errors) {
        let question = self.question(errors);
        let (xs, ys): (Vec<u64>, Vec<u64>) = (self.input("x"), self.input("y"));
        let wanted: Vec<f64> = self.expected("log_e");
        errors.same((xs.len(), ys.len()), (wanted.len(), wanted.len()));
        let needed = pmix::threshold(self.input("alpha"));
        let (mut sums, mut crossing) = (Sums::default(), None);
        for (batch, ((x, y), wanted)) in xs.into_iter().zip(ys).zip(wanted).enumerate() {
            let (n_c, n_s) = (self.input("n_c"), self.input("n_s"));
            sums.add(question, self.input("r0"), Counts { x, y, n_c, n_s });
            let found = sums.log_e(self.input("delta"), 1.0);
            errors.log_e(found, wanted);
            if found >= needed {
                crossing.get_or_insert(batch);
            }
        }
        errors.same(crossing, self.expected("first_crossing_batch_index"));
    }

    fn difference(&self, errors: &mut Errors) {
        let (mut harm, mut other) = (Sums::default(), Sums::default());
        for counts in self.batches() {
            harm.add(Question::Harm, self.input("r0"), counts);
            other.add(Question::NonInferiority, self.input("r0"), counts);
        }
        errors.same(self.input("harm_grid"), *Question::Harm.grid());
        errors.same(self.input("ni_grid"), *Question::NonInferiority.grid());
        let (lower, upper) = pmix::bounds(&harm, &other, self.input("alpha"), 1.0);
        errors.bound(lower, self.expected("lower"));
        errors.bound(upper, self.expected("upper"));
    }

    fn proportion(&self, errors: &mut Errors) {
        errors.same(self.input("prior"), [0.5, 0.5]);
        let (k, n) = (self.input("k"), self.input("n"));
        let (lower, upper) = proportion::bounds(k, n, self.input("alpha"));
        errors.bound(lower, self.expected("lower"));
        errors.bound(upper, self.expected("upper"));
    }

    fn ranks(&self, errors: &mut Errors) {
        let (x, y): (Vec<f64>, Vec<f64>) = (self.input("x"), self.input("y"));
        let exact = self.input::<String>("method") == "exact";
        let test = if exact {
            mann_whitney::test
        } else {
            mann_whitney::approximate
        };
        let found = test(&x, &y).unwrap();
        errors.same(found.exact, exact);
        errors.same(found.u, self.expected("U1"));
        errors.probability(found.p_two_sided(), self.expected("p_two_sided"));
        errors.probability(found.p_greater, self.expected("p_greater"));
        errors.probability(found.p_less, self.expected("p_less"));
    }

    fn quantiles(&self, errors: &mut Errors) {
        let mut data: Vec<f64> = self.input("data");
        data.sort_by(f64::total_cmp);
        let linear: Vec<f64> = self.expected("linear_type7");
        let inverted: Vec<f64> = self.expected("inverted_cdf_type1");
        let asked: Vec<f64> = self.input("q");
        errors.same((linear.len(), inverted.len()), (asked.len(), asked.len()));
        for ((q, linear), inverted) in asked.iter().zip(linear).zip(inverted) {
            errors.log_e(quantile::linear(&data, *q).unwrap(), linear);
            errors.same(quantile::inverted(&data, data.len(), *q), Some(inverted));
        }
    }
}
