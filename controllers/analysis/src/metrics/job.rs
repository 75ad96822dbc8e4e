//! Runs a job, and reads its exit code or the JSON in the last line of its output.
//!
//! Who runs it on Swarm is another controller's business: it comes in through [`Jobs`].

mod store;

use std::collections::BTreeMap;

use async_trait::async_trait;
use fm_api::criteria::metrics::JobSource;
use fm_api::keys::ReleaseKey;
use fm_store::Fence;
use jiff::Timestamp;

use super::plan::Answer;
use super::providers::Asked;
use super::{http, web};

pub use store::StoreJobs;

/// Runs jobs. Whatever becomes of the future, the job is removed.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Runs one to its end.
    ///
    /// # Errors
    /// Why it did not run to an exit code.
    async fn run(&self, job: Job) -> Result<End, String>;
}

/// A job, its variables filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Of which release.
    pub release: ReleaseKey,
    /// What it measures: `METRIC/SIDE`.
    pub measurement: String,
    /// The analysis run it belongs to.
    pub run: String,
    /// The image.
    pub image: String,
    /// A name of the registry logins.
    pub registry_auth: Option<String>,
    /// Replaces the entry point.
    pub command: Vec<String>,
    /// The arguments.
    pub args: Vec<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Networks that it joins.
    pub networks: Vec<String>,
    /// The most of its output that is read; more is an error.
    pub limit: u64,
    /// Now.
    pub now: Timestamp,
    /// When it is given up.
    pub until: Timestamp,
    /// The leadership under which it is asked for.
    pub fence: Option<Fence>,
}

/// How a job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Its exit code.
    pub exit_code: i64,
    /// What it wrote to its standard output; the last line of it is enough.
    pub output: Vec<u8>,
}

pub(super) async fn ask(
    jobs: &dyn Jobs,
    source: &JobSource,
    asked: Asked<'_>,
) -> Result<Answer, Answer> {
    let fill = |text: &String| asked.fill(text);
    let env = source
        .env
        .iter()
        .map(|(name, value)| Ok((name.clone(), asked.fill(value)?)));
    let question = asked.question;
    let side = if asked.side == question.canary {
        "canary"
    } else {
        "stable"
    };
    let limit = question.metric.time_limit().to_signed();
    let job = Job {
        release: question.release.clone(),
        measurement: format!("{}/{side}", question.metric.name),
        run: question.run.clone(),
        image: source.image.clone(),
        registry_auth: source.registry_auth.clone(),
        command: source.command.iter().map(fill).collect::<Result<_, _>>()?,
        args: source.args.iter().map(fill).collect::<Result<_, _>>()?,
        env: env.collect::<Result<_, Answer>>()?,
        networks: source.networks.clone(),
        limit: asked.limit(),
        now: question.now,
        until: question.now.checked_add(limit).unwrap_or(Timestamp::MAX),
        fence: question.fence.clone(),
    };
    let end = jobs.run(job).await.map_err(Answer::Error)?;
    Ok(read(source, &end))
}

fn read(source: &JobSource, end: &End) -> Answer {
    let code = end.exit_code;
    if u8::try_from(code).is_ok_and(|code| source.inconclusive_exit_codes.contains(&code)) {
        return Answer::Inconclusive(format!("exit code {code}"));
    }
    let Some(path) = &source.json_path else {
        return Answer::Value(code as f64);
    };
    if code != 0 {
        return Answer::Error(format!(
            "exit code {code}: {}",
            http::start(last_line(&end.output))
        ));
    }
    match last_line(&end.output) {
        [] => Answer::NoData("the job wrote nothing".to_owned()),
        line => web::read(path, line),
    }
}

fn last_line(output: &[u8]) -> &[u8] {
    let lines = output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines
        .rev()
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_or_the_last_line_is_the_value() {
        let end = |exit_code, output: &str| End {
            exit_code,
            output: output.as_bytes().to_vec(),
        };
        let code = JobSource {
            inconclusive_exit_codes: vec![75],
            ..JobSource::default()
        };
        assert_eq!(read(&code, &end(0, "")), Answer::Value(0.0));
        assert_eq!(read(&code, &end(3, "")), Answer::Value(3.0));
        assert!(matches!(read(&code, &end(75, "")), Answer::Inconclusive(_)));
        let json = JobSource {
            json_path: Some("$.rate".into()),
            ..JobSource::default()
        };
        assert_eq!(
            read(&json, &end(0, "starts\n{\"rate\":0.5}\n\n")),
            Answer::Value(0.5)
        );
        assert!(matches!(read(&json, &end(0, "\n")), Answer::NoData(_)));
        assert!(matches!(
            read(&json, &end(0, "{\"rate\":0.5}\nbye")),
            Answer::Error(_)
        ));
        assert!(matches!(
            read(&json, &end(1, "{\"rate\":0.5}")),
            Answer::Error(_)
        ));
    }
}
