//! Docker's answers, typed as far as they are read, and how they become what this controller works with.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::{Node, NodeState, Service};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawService {
    #[serde(rename = "ID")]
    id: String,
    version: RawVersion,
    pub(crate) spec: Value,
}

impl RawService {
    pub(crate) fn is_named(&self, prefix: &str) -> bool {
        self.spec["Name"]
            .as_str()
            .is_some_and(|name| name.starts_with(prefix))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawVersion {
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawNode {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    description: RawDescription,
    status: RawNodeStatus,
    #[serde(default)]
    manager_status: Option<RawManager>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawDescription {
    #[serde(default)]
    hostname: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawNodeStatus {
    state: NodeState,
    #[serde(default)]
    addr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawManager {
    #[serde(default)]
    leader: bool,
    #[serde(default)]
    addr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawDistribution {
    pub(crate) descriptor: RawDescriptor,
}

#[derive(Deserialize)]
pub(crate) struct RawDescriptor {
    #[serde(default)]
    pub(crate) digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawNetwork {
    pub(crate) id: String,
    pub(crate) name: String,
}

pub(crate) fn networks(spec: &Value) -> Option<&Vec<Value>> {
    spec.get("TaskTemplate")?.get("Networks")?.as_array()
}

pub(crate) fn read_service(found: RawService, names: &BTreeMap<String, String>) -> Service {
    let mut spec = found.spec;
    let attached = spec
        .get_mut("TaskTemplate")
        .and_then(|template| template.get_mut("Networks"))
        .and_then(Value::as_array_mut);
    for network in attached.into_iter().flatten() {
        // We post names, Docker shows ids: compare names.
        let name = network["Target"].as_str().and_then(|id| names.get(id));
        if let Some(name) = name {
            network["Target"] = json!(name);
        }
    }
    let labels = spec["Labels"].as_object().into_iter().flatten();
    Service {
        id: found.id,
        version: found.version.index,
        name: spec["Name"].as_str().unwrap_or_default().to_owned(),
        labels: labels
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        replicas: spec["Mode"]["Replicated"]["Replicas"]
            .as_u64()
            .and_then(|n| u32::try_from(n).ok()),
        spec,
    }
}

pub(crate) fn read_nodes(found: Vec<RawNode>) -> BTreeMap<String, Node> {
    let usable = |address: &str| !address.is_empty() && address != "0.0.0.0" && address != "::";
    let leader = found
        .iter()
        .filter_map(|node| node.manager_status.as_ref())
        .find(|manager| manager.leader)
        .and_then(|manager| manager.addr.rsplit_once(':'))
        .map(|(host, _)| host.trim_matches(['[', ']']).to_owned())
        .filter(|host| usable(host))
        .unwrap_or_else(|| "127.0.0.1".to_owned());
    let read = |node: RawNode| {
        let address = if usable(&node.status.addr) {
            node.status.addr
        } else {
            leader.clone()
        };
        let seen = Node {
            hostname: node.description.hostname,
            state: node.status.state,
            address,
        };
        (node.id, seen)
    };
    found.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_an_address_is_reached_where_the_leader_is() {
        let nodes: Vec<RawNode> = serde_json::from_value(json!([
            { "ID": "a", "Status": { "State": "ready", "Addr": "0.0.0.0" },
              "ManagerStatus": { "Leader": true, "Addr": "10.1.2.3:2377" } },
            { "ID": "b", "Status": { "State": "unknown", "Addr": "10.1.2.4" } },
        ]))
        .unwrap();
        let nodes = read_nodes(nodes);
        assert_eq!(nodes["a"].address, "10.1.2.3");
        assert_eq!(nodes["b"].address, "10.1.2.4");
        assert_eq!(nodes["b"].state, NodeState::Unknown);
    }

    #[test]
    fn a_service_read_back_names_its_networks() {
        let found: RawService = serde_json::from_value(json!({
            "ID": "s", "Version": { "Index": 7 },
            "Spec": { "Name": "fm_a_b_c", "Labels": { "x": "y" },
                "TaskTemplate": { "Networks": [{ "Target": "n1" }] },
                "Mode": { "Replicated": { "Replicas": 3 } } }
        }))
        .unwrap();
        let names = BTreeMap::from([("n1".to_owned(), "backend".to_owned())]);
        let service = read_service(found, &names);
        assert_eq!(service.replicas, Some(3));
        assert_eq!(
            service.spec["TaskTemplate"]["Networks"][0]["Target"],
            "backend"
        );
    }
}
