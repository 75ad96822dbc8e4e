//! Tasks as an engine 20.10.24 showed them, one for each way to fail.

use fm_api::observed::FailureKind;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn nodes(state: NodeState) -> BTreeMap<String, Node> {
    let node = Node {
        hostname: "vm".to_owned(),
        state,
        address: "10.9.8.7".to_owned(),
    };
    BTreeMap::from([("n1".to_owned(), node)])
}

fn task(id: &str, desired: &str, status: Value) -> Task {
    let mut all = json!({ "Timestamp": "2026-11-22T17:10:44.448898432Z", "PortStatus": {} });
    for (name, value) in status.as_object().unwrap() {
        all[name] = value.clone();
    }
    serde_json::from_value(json!({
        "ID": id, "Version": { "Index": 17 }, "Labels": {}, "ServiceID": "s1", "Slot": 1, "NodeID": "n1",
        "Spec": { "ContainerSpec": { "Image": "sha256:30", "Init": false }, "ForceUpdate": 0 },
        "DesiredState": desired, "Status": all
    }))
    .unwrap()
}

fn running(id: &str, desired: &str) -> Task {
    // Docker shows each port twice.
    let port = json!({ "Protocol": "tcp", "TargetPort": 8080, "PublishedPort": 32768, "PublishMode": "host" });
    let status = json!({ "State": "running", "Message": "started", "PortStatus": { "Ports": [port, port] },
        "ContainerStatus": { "ContainerID": "5c", "PID": 17259, "ExitCode": 0 } });
    task(id, desired, status)
}

const REACH: Reach<'_> = Reach {
    endpoints: Endpoints::HostPorts,
    ports: &[8080],
    network: None,
};

fn look(tasks: &[Task], state: NodeState, reach: Reach<'_>) -> SwarmRevision {
    let mut tally = Tally::default();
    tally.count(tasks);
    revision("fm_a_b_c", None, 0, tasks, &nodes(state), reach, &tally)
}

#[test]
fn a_running_task_is_ready_where_its_node_publishes_its_port() {
    let seen = look(&[running("t", "running")], NodeState::Ready, REACH);
    let expected = Endpoint {
        task: "t".to_owned(),
        node: "vm".to_owned(),
        addresses: BTreeMap::from([(8080, "10.9.8.7:32768".to_owned())]),
    };
    assert_eq!(seen.ready, [expected]);
    assert_eq!((seen.starting, seen.failed_tasks), (0, 0));
}

#[rstest]
#[case::ready("running", NodeState::Ready, 1, 0)]
#[case::leader_changes("running", NodeState::Unknown, 1, 0)]
#[case::node_down("running", NodeState::Down, 0, 0)]
#[case::told_to_stop("shutdown", NodeState::Ready, 0, 1)]
#[case::service_removed("remove", NodeState::Ready, 0, 1)]
#[case::stopping_on_a_dead_node("shutdown", NodeState::Down, 0, 0)]
fn the_desired_state_and_the_node_decide_not_the_state(
    #[case] desired: &str,
    #[case] node: NodeState,
    #[case] ready: usize,
    #[case] leaving: usize,
) {
    let seen = look(&[running("t", desired)], node, REACH);
    assert_eq!((seen.ready.len(), seen.leaving.len()), (ready, leaving));
}

#[rstest]
#[case("new")]
#[case("pending")]
#[case("assigned")]
#[case("preparing")]
#[case("starting")]
fn a_task_on_its_way_is_starting(#[case] state: &str) {
    let tasks = [task("t", "running", json!({ "State": state }))];
    let seen = look(&tasks, NodeState::Ready, REACH);
    assert_eq!((seen.ready.len(), seen.starting), (0, 1));
    assert!(moving(&seen, 1));
}

#[test]
fn a_running_task_without_its_published_port_is_still_starting() {
    let tasks = [task("t", "running", json!({ "State": "running" }))];
    let seen = look(&tasks, NodeState::Ready, REACH);
    assert_eq!((seen.ready.len(), seen.starting), (0, 1));
}

#[test]
fn a_port_whose_numbers_differ_between_ipv4_and_ipv6_is_the_one_of_the_nodes_family() {
    let port = |number| json!({ "Protocol": "tcp", "TargetPort": 8080, "PublishedPort": number, "PublishMode": "host" });
    let status =
        json!({ "State": "running", "PortStatus": { "Ports": [port(32993), port(32992)] } });
    let seen = look(&[task("t", "running", status)], NodeState::Ready, REACH);
    let address = seen.ready[0].addresses[&8080].clone();
    assert!(address.ends_with(":32993"), "{address}");
}

#[test]
fn a_worker_without_ports_is_ready_when_it_runs() {
    let reach = Reach {
        ports: &[],
        ..REACH
    };
    let seen = look(&[running("t", "running")], NodeState::Ready, reach);
    assert_eq!(seen.ready.len(), 1);
    assert!(!moving(&seen, 1));
}

#[test]
fn in_an_overlay_a_task_is_reached_at_its_own_address_in_the_first_network() {
    let mut task = running("t", "running");
    task.networks_attachments = serde_json::from_value(json!([
        { "Network": { "ID": "x", "Spec": { "Name": "other" } }, "Addresses": ["10.0.9.9/24"] },
        { "Network": { "ID": "y", "Spec": { "Name": "backend" } }, "Addresses": ["10.0.1.5/24"] },
    ]))
    .unwrap();
    let reach = Reach {
        endpoints: Endpoints::Overlay,
        network: Some("backend"),
        ..REACH
    };
    let seen = look(&[task], NodeState::Ready, reach);
    assert_eq!(seen.ready[0].addresses[&8080], "10.0.1.5:8080");
}

/// A row of the failure table: the status Docker shows, the kind and the exit code we tell.
#[rstest]
#[case::crash(
    json!({"State": "failed", "Message": "started", "Err": "task: non-zero exit (3)", "ContainerStatus": {"ContainerID": "a2", "PID": 0, "ExitCode": 3}}),
    "shutdown", FailureKind::Crashed, Some(3), "task: non-zero exit (3)")]
#[case::unhealthy(
    json!({"State": "failed", "Message": "starting", "Err": "task: non-zero exit (137): dockerexec: unhealthy container", "ContainerStatus": {"ExitCode": 137}}),
    "shutdown", FailureKind::Unhealthy, Some(137), "unhealthy container")]
#[case::unhealthy_that_ends_well(
    json!({"State": "complete", "Message": "finished", "ContainerStatus": {"ExitCode": 0}}),
    "shutdown", FailureKind::Crashed, Some(0), "ended by itself or was stopped as unhealthy (0)")]
#[case::no_image(
    json!({"State": "rejected", "Message": "preparing", "Err": "No such image: nosuch.invalid/x:1", "ContainerStatus": {"ContainerID": "", "PID": 0, "ExitCode": 0}}),
    "shutdown", FailureKind::ImageMissing, None, "No such image: nosuch.invalid/x:1")]
#[case::port_of_a_task(
    json!({"State": "pending", "Message": "pending task scheduling", "Err": "no suitable node (host-mode port already in use on 1 node)"}),
    "running", FailureKind::NoSuitableNode, None, "host-mode port already in use")]
#[case::port_of_a_stranger(
    json!({"State": "failed", "Message": "starting", "Err": "starting container failed: driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use", "ContainerStatus": {"ExitCode": 128}}),
    "shutdown", FailureKind::Rejected, Some(128), "address already in use")]
#[case::constraint(
    json!({"State": "pending", "Message": "pending task scheduling", "Err": "no suitable node (scheduling constraints not satisfied on 1 node)"}),
    "running", FailureKind::NoSuitableNode, None, "scheduling constraints not satisfied")]
#[case::resources(
    json!({"State": "pending", "Message": "pending task scheduling", "Err": "no suitable node (insufficient resources on 1 node)"}),
    "running", FailureKind::NoSuitableNode, None, "insufficient resources")]
#[case::max_replicas(
    json!({"State": "pending", "Message": "pending task scheduling", "Err": "no suitable node (max replicas per node limit exceed)"}),
    "running", FailureKind::NoSuitableNode, None, "max replicas per node")]
#[case::bad_entrypoint(
    json!({"State": "failed", "Message": "starting", "Err": "starting container failed: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: unknown", "ContainerStatus": {"ExitCode": 127}}),
    "shutdown", FailureKind::Crashed, Some(127), "stat /nope: no such file or directory")]
fn a_failure_is_told_in_dockers_words(
    #[case] status: Value,
    #[case] desired: &str,
    #[case] kind: FailureKind,
    #[case] exit_code: Option<i64>,
    #[case] words: &str,
) {
    let seen = look(&[task("t", desired, status)], NodeState::Ready, REACH);
    let [failure] = seen.failures.as_slice() else {
        panic!("one failure expected: {seen:?}");
    };
    assert_eq!((failure.kind, failure.exit_code), (kind, exit_code));
    assert!(failure.message.contains(words), "{}", failure.message);
    // A task that waits for a node has not failed yet: it may still get one.
    let waits = kind == FailureKind::NoSuitableNode;
    assert_eq!(seen.failed_tasks, u32::from(!waits));
    assert_eq!(seen.starting, u32::from(waits));
}

#[test]
fn a_task_that_was_told_to_stop_has_not_failed() {
    let stopped = task(
        "t",
        "shutdown",
        json!({ "State": "shutdown", "Message": "shutdown" }),
    );
    let seen = look(&[stopped], NodeState::Ready, REACH);
    assert_eq!((seen.failures.len(), seen.failed_tasks), (0, 0));
}

#[test]
fn the_last_five_failures_are_told_the_newest_last_and_all_are_counted() {
    let mut tally = Tally::default();
    let mut all = Vec::new();
    for n in 0..7 {
        let status = json!({ "Timestamp": format!("2026-11-22T17:10:0{n}Z"), "State": "failed",
            "Err": format!("task: non-zero exit ({n})"), "ContainerStatus": { "ExitCode": n } });
        all.push(task(&format!("t{n}"), "shutdown", status));
        // Docker keeps only the last tasks.
        tally.count(&all[all.len().saturating_sub(3)..]);
    }
    all.reverse();
    let seen = revision("s", None, 0, &all, &nodes(NodeState::Ready), REACH, &tally);
    let codes: Vec<_> = seen.failures.iter().filter_map(|f| f.exit_code).collect();
    assert_eq!(codes, [2, 3, 4, 5, 6]);
    assert_eq!(seen.failed_tasks, 7);
}

#[test]
fn after_a_restart_the_count_goes_on_from_what_was_written() {
    let failed = task("t", "shutdown", json!({ "State": "failed", "Err": "x" }));
    let mut tally = Tally::resume(12, std::slice::from_ref(&failed));
    tally.count(std::slice::from_ref(&failed));
    assert_eq!(tally.total, 12);
    let another = task("u", "shutdown", json!({ "State": "failed", "Err": "x" }));
    tally.count(&[failed, another]);
    assert_eq!(tally.total, 13);
}

#[test]
fn a_state_nobody_knows_is_neither_ready_nor_failed() {
    let strange = task("t", "running", json!({ "State": "levitating" }));
    let seen = look(&[strange], NodeState::Ready, REACH);
    assert_eq!(
        (seen.ready.len(), seen.starting, seen.failed_tasks),
        (0, 0, 0)
    );
}
