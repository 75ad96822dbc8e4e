//! Whether a release names a login for another server than the login's own. Pure.
//!
//! It is looked at before anything is stored, and once more where a login is sent. A name that this daemon's file does not
//! have is no answer: another daemon may be the one that sends it.

use std::collections::BTreeMap;

use fm_analysis::metrics::Login;
use fm_api::criteria::metrics::{Metric, origin};
use fm_api::problem::Problem;
use fm_api::release::ReleaseSpec;
use fm_swarm::RegistryLogin;

/// The logins that this daemon's file names.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    /// At registries.
    pub registries: BTreeMap<String, RegistryLogin>,
    /// At other systems.
    pub providers: BTreeMap<String, Login>,
}

impl Logins {
    /// What a release may not ask for, by field.
    #[must_use]
    pub fn problems(&self, spec: &ReleaseSpec) -> Vec<Problem> {
        let mut problems = Vec::new();
        let own = spec.workload.registry_auth.as_deref();
        let mut pulls = vec![(
            "spec.workload.registryAuth".to_owned(),
            own,
            spec.workload.image.as_str(),
        )];
        let candidates = spec
            .experiment
            .iter()
            .flat_map(|all| all.candidates.iter().enumerate());
        pulls.extend(candidates.filter_map(|(at, one)| {
            let path = format!("spec.experiment.candidates[{at}].image");
            Some((path, own, one.image.as_deref()?))
        }));
        pulls.extend(spec.before_traffic.iter().enumerate().map(|(at, job)| {
            let path = format!("spec.beforeTraffic[{at}].registryAuth");
            let image = job.image.as_deref().unwrap_or(&spec.workload.image);
            (path, job.registry_auth.as_deref(), image)
        }));
        for (at, metric) in spec.analysis.metrics.iter().enumerate() {
            let path = format!("spec.analysis.metrics[{at}]");
            if let Some(job) = &metric.job {
                let path = format!("{path}.job.registryAuth");
                pulls.push((path, job.registry_auth.as_deref(), &job.image));
            }
            if let Some((source, name, address)) = asked(metric) {
                problems.extend(self.asks(&format!("{path}.{source}.authRef"), name, address));
            }
        }
        for (at, hook) in spec.webhooks.iter().enumerate() {
            let path = format!("spec.webhooks[{at}].authRef");
            problems.extend(self.asks(&path, hook.auth_ref.as_deref(), &hook.url));
        }
        problems.extend(
            pulls
                .into_iter()
                .filter_map(|(path, name, image)| self.pulls(path, name?, image)),
        );
        problems
    }

    fn pulls(&self, path: String, name: &str, image: &str) -> Option<Problem> {
        let why = self.registries.get(name)?.check(image).err()?;
        let wrong = format!("the login `{name}` is sent to its own server alone: {why}");
        Some(Problem::new(path, wrong).allowed("a login of the image's own server, or none"))
    }

    fn asks(&self, path: &str, name: Option<&str>, address: &str) -> Option<Problem> {
        let name = name?;
        // Validation has refused what is no address.
        let to = origin(address).ok()?;
        let why = self.providers.get(name)?.check(name, &to).err()?;
        Some(Problem::new(path, why).allowed("a login whose `addresses` name this one, or none"))
    }
}

/// Where a metric is read, with which login.
fn asked(metric: &Metric) -> Option<(&'static str, Option<&str>, &str)> {
    let prometheus = metric.prometheus.as_ref();
    let prometheus = prometheus.map(|s| ("prometheus", s.auth_ref.as_deref(), s.address.as_str()));
    let influx = metric.influx.as_ref();
    let influx = influx.map(|s| ("influx", s.auth_ref.as_deref(), s.address.as_str()));
    let web = metric.web.as_ref();
    let web = web.map(|s| ("web", s.auth_ref.as_deref(), s.url.as_str()));
    prometheus.or(influx).or(web)
}
