use rstest::rstest;

use super::*;

#[rstest]
#[case("shop", "shop")]
#[case("shop:1.4", "shop")]
#[case("registry:5000/team/shop", "registry:5000/team/shop")]
#[case("registry:5000/team/shop:1.4", "registry:5000/team/shop")]
#[case("shop:1@sha256:00", "shop")]
fn a_repository_is_the_reference_without_tag_and_digest(
    #[case] reference: &str,
    #[case] expected: &str,
) {
    assert_eq!(repository(reference), expected);
}

#[rstest]
#[case::built_here("shop:1", &[], "sha256:1d")]
#[case::from_a_registry("shop:1", &["shop@sha256:aa"], "shop@sha256:aa")]
#[case::docker_hub_in_full("docker.io/library/nginx:1", &["nginx@sha256:aa"], "nginx@sha256:aa")]
#[case::tagged_anew("mine/shop:1", &["other/shop@sha256:aa"], "sha256:1d")]
fn a_local_image_is_pinned_by_its_registrys_digest_or_its_id(
    #[case] reference: &str,
    #[case] digests: &[&str],
    #[case] expected: &str,
) {
    let image = LocalImage {
        id: "sha256:1d".to_owned(),
        digests: digests.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(pin_local(reference, &image), expected);
}

#[rstest]
#[case::no_login(
    None,
    "Get \"https://r.example.com:503/v2/shop/manifests/429\": no basic auth credentials",
    false,
    "workload.registryAuth"
)]
#[case::old_login(
    Some("main"),
    "unauthorized: authentication required",
    false,
    "`main`: renew its password"
)]
#[case::forbidden(
    Some("main"),
    "denied: requested access to the resource is denied",
    false,
    "does not let the login `main`"
)]
#[case::perhaps_none(
    None,
    "pull access denied for shop, repository does not exist or may require 'docker login'",
    false,
    "has no such image"
)]
#[case::gone(None, "manifest unknown: manifest unknown", false, "push it")]
#[case::too_often(
    None,
    "toomanyrequests: You have reached your pull rate limit",
    true,
    "asked too often"
)]
#[case::down(
    None,
    "received unexpected HTTP status: 503 Service Unavailable",
    true,
    "in trouble"
)]
#[case::hangs(
    None,
    "Docker did not answer within 30 s",
    true,
    "no answer within 30 s"
)]
#[case::slow(
    None,
    "Get \"https://r.example.com:503/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
    true,
    "no answer within 30 s"
)]
#[case::certificate(
    None,
    "x509: certificate signed by unknown authority",
    false,
    "certs.d/r.example.com:503/ca.crt"
)]
#[case::plain(
    None,
    "http: server gave HTTP response to HTTPS client",
    false,
    "insecure-registries"
)]
#[case::away(
    None,
    "dial tcp: lookup r.example.com: no such host",
    true,
    "does not reach"
)]
#[case::unheard_of(None, "something else", true, "cannot give it")]
fn each_no_of_a_registry_says_whether_somebody_is_needed_and_what_to_do(
    #[case] auth: Option<&str>,
    #[case] said: &str,
    #[case] transient: bool,
    #[case] next: &str,
) {
    for error in [
        DockerError::Refused(said.to_owned()),
        DockerError::Silent(said.to_owned()),
    ] {
        let failure = told("r.example.com:503/team/shop:404", auth, &error);
        assert_eq!(failure.transient, transient, "{said}: {}", failure.words);
        let own = failure.words.contains(next) && failure.words.contains(said);
        assert!(
            own && failure.words.contains("r.example.com:503"),
            "{}",
            failure.words
        );
        assert_eq!(failure.words.contains("nobody is needed yet"), transient);
    }
}

#[test]
fn no_value_of_the_environment_stands_in_what_docker_says() {
    let env = json!(["TOKEN=hunter2{{x}}", "DEBUG=1", "PASSWORD=correct horse"]);
    let spec = json!({ "TaskTemplate": { "ContainerSpec": { "Env": env } } });
    for (words, wanted) in [
        (
            "rpc error: expanding env failed: template: expansion:1: function \"hunter2\" not defined",
            "rpc error: expanding env failed: the value of an environment variable is no template that Swarm can fill in",
        ),
        (
            "1 error: \"correct horse\" is bad",
            "1 error: \"[the value of PASSWORD]\" is bad",
        ),
        ("no such network", "no such network"),
    ] {
        assert_eq!(without_values(words, &spec), wanted);
    }
}
