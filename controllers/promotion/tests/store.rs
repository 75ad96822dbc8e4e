//! Promotion on a real store, under the real loop: what the plan decides is what is stored.

#[cfg(test)]
mod on_a_real_store {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use fm_api::keys::{self, ReleaseKey};
    use fm_api::observed::{
        Agent, Endpoint, HaproxyObserved, HaproxyRevision, Resolution, SwarmObserved,
        SwarmRevision, TrafficInForce,
    };
    use fm_api::status::{Phase, Status};
    use fm_api::target::{ResolvedImage, Target};
    use fm_runtime::{Context, SystemClock};
    use fm_store::{SharedStore, Txn};
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    struct Stand {
        store: SharedStore,
        key: ReleaseKey,
        shutdown: CancellationToken,
        _folder: tempfile::TempDir,
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            self.shutdown.cancel();
        }
    }

    impl Stand {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = fm_store::embedded::open(folder.path()).unwrap();
            let shutdown = CancellationToken::new();
            let ctx = Context {
                store: store.clone(),
                clock: Arc::new(SystemClock),
                identity: "test".to_owned(),
                fitness: fm_runtime::Fitness::default(),
                shutdown: shutdown.clone(),
                resync: Duration::from_secs(10),
            };
            tokio::spawn(fm_promotion::run(ctx, fm_promotion::Options::default()));
            let key = ReleaseKey::new("default", "shop");
            Self {
                store,
                key,
                shutdown,
                _folder: folder,
            }
        }

        async fn put<T: Serialize>(&self, key: String, value: &T) {
            let bytes = serde_json::to_vec(value).unwrap();
            self.store.commit(Txn::new().put(key, bytes)).await.unwrap();
        }

        async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
            let entry = self.store.get(key).await.unwrap()?;
            Some(serde_json::from_slice(&entry.value).unwrap())
        }

        /// Waits for a level, never for an edge; the other controllers act meanwhile.
        async fn until(&self, what: &str, reached: impl Fn(&Target, &Status) -> bool) {
            let began = Instant::now();
            loop {
                let target: Option<Target> = self.get(&self.key.target()).await;
                let status: Option<Status> = self.get(&self.key.status()).await;
                if let (Some(target), Some(status)) = (&target, &status)
                    && reached(target, status)
                {
                    return;
                }
                assert!(
                    began.elapsed() < Duration::from_secs(30),
                    "{what}: {status:?}"
                );
                if let Some(target) = target {
                    self.act(&target).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }

        /// Swarm and one HAProxy do as the target says.
        async fn act(&self, target: &Target) {
            let mut swarm = SwarmObserved {
                uid: target.uid.clone(),
                generation: target.generation,
                ..SwarmObserved::default()
            };
            swarm.resolution = target.resolve.as_ref().map(|resolve| Resolution {
                generation: resolve.generation,
                image: Some(ResolvedImage {
                    reference: resolve.workload.image.clone(),
                    pinned: format!("{}@sha256:00", resolve.workload.image),
                }),
                service: Some(json!({ "Name": "shop" })),
                error: None,
                transient: false,
            });
            let mut haproxy = HaproxyObserved {
                uid: target.uid.clone(),
                generation: target.generation,
                traffic: target.traffic.as_ref().map(|split| TrafficInForce {
                    generation: split.generation,
                    stable: split.stable.clone(),
                    canary: split.canary.clone(),
                    weight: split.weight,
                    mirror: split.mirror,
                }),
                ..HaproxyObserved::default()
            };
            for (revision, wanted) in &target.revisions {
                let ready = (0..wanted.replicas).map(|n| Endpoint {
                    task: format!("{revision}-{n}"),
                    node: "one".to_owned(),
                    addresses: BTreeMap::from([(8080, format!("127.0.0.1:{}", 30_000 + n))]),
                });
                let seen = SwarmRevision {
                    ready: ready.collect(),
                    ..SwarmRevision::default()
                };
                swarm.revisions.insert(revision.clone(), seen);
                if let Some(slot) = wanted.slot {
                    let seen = HaproxyRevision {
                        slot,
                        servers: wanted.replicas,
                        healthy: wanted.replicas,
                        draining: 0,
                        open: 0,
                        down: Vec::new(),
                    };
                    haproxy.revisions.insert(revision.clone(), seen);
                }
            }
            self.put(self.key.observed_swarm(), &swarm).await;
            self.put(self.key.observed_haproxy("edge"), &haproxy).await;
        }

        async fn agent(&self) {
            let agent = Agent {
                instance: "edge".to_owned(),
                telemetry: "unix:/none".to_owned(),
                haproxy: String::new(),
                problem: None,
                troubles: Vec::new(),
                version: String::new(),
                since: jiff::Timestamp::UNIX_EPOCH,
            };
            self.put(keys::agent("edge"), &agent).await;
        }
    }

    fn release(generation: u64, image: &str) -> Value {
        json!({
            "apiVersion": "fridaymorning.dev/v1",
            "kind": "Release",
            "metadata": { "namespace": "default", "name": "shop", "uid": "uid-1", "generation": generation },
            "spec": {
                "replicas": 2,
                "workload": { "image": image },
                "routes": [{ "hosts": ["shop.example.com"], "port": 8080 }],
                "strategy": { "canary": { "steps": [{ "weight": 10, "hold": "1h" }] } },
            },
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_release_is_taken_in_tried_spoiled_aborted_and_deleted() {
        let stand = Stand::new();
        stand.agent().await;
        stand.put(stand.key.release(), &release(1, "shop:1")).await;
        stand
            .until("the first serves", |target, status| {
                target.stable.is_some() && status.phase == Phase::Healthy
            })
            .await;
        stand.put(stand.key.release(), &release(2, "shop:2")).await;
        stand
            .until("the canary holds", |_, status| {
                status.weight.basis_points() == 1000 && status.reason == "Holding"
            })
            .await;

        // Straight into the store, past every door.
        stand
            .put(stand.key.release(), &json!({ "spec": { "replicas": -1 } }))
            .await;
        stand
            .put(stand.key.operation("nonsense"), &json!({ "verb": 7 }))
            .await;
        stand
            .until("the spec is invalid, what ran goes on", |target, status| {
                status.phase == Phase::Invalid && target.canary.is_some()
            })
            .await;
        let abort = json!({ "id": "op-1", "operation": "abort", "by": "ann" });
        stand.put(stand.key.operation("op-1"), &abort).await;
        stand
            .until("the canary is taken back", |target, _| {
                target.rollout.is_none() && target.revisions.len() == 1
            })
            .await;
        assert_eq!(
            stand
                .store
                .list(&stand.key.operations_prefix())
                .await
                .unwrap()
                .entries,
            []
        );
        let records = stand
            .store
            .list(&stand.key.revisions_prefix())
            .await
            .unwrap()
            .entries;
        assert_eq!(records.len(), 2, "the history names both");

        let mut deleted = release(3, "shop:2");
        deleted["metadata"]["deletedAt"] = json!("2026-01-01T00:00:00Z");
        stand.put(stand.key.release(), &deleted).await;
        let began = Instant::now();
        while let Some(target) = stand.get::<Target>(&stand.key.target()).await {
            assert!(began.elapsed() < Duration::from_secs(30), "{target:?}");
            stand.act(&target).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            stand
                .store
                .get(&stand.key.status())
                .await
                .unwrap()
                .is_none()
        );
    }
}
