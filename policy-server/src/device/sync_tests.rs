use serde_json::{Value, json};

use super::*;
use crate::store::tests::temporary;

const ACCOUNT: &str = "a0d35bd1a0d35bd1a0d35bd1a0d35bd1a0d35bd1";

async fn store() -> (Store, tempfile::TempDir) {
    let (store, dir) = temporary().await;
    store.put_jami_account(ACCOUNT, "alice").await;
    (store, dir)
}

fn contact(number: usize, members: Value) -> Value {
    let mut contact = members;
    contact["uri"] = format!("{number:040x}").into();
    contact
}

fn list(elements: Vec<Value>) -> Records {
    Kind::Contacts.read(elements).unwrap()
}

#[tokio::test]
async fn lists_are_kept_by_account_and_kind() {
    let (store, _dir) = store().await;
    let sent = list(vec![contact(1, json!({"added": 1})), contact(2, json!({"added": 1, "x": "\0é"}))]);
    let merged = sync(&store, ACCOUNT, Kind::Contacts, sent.clone()).await.unwrap();
    assert_eq!(merged, sent);
    let removed = list(vec![contact(1, json!({"added": 1, "removed": 2}))]);
    let merged = sync(&store, ACCOUNT, Kind::Contacts, removed.clone()).await.unwrap();
    assert_eq!((merged.len(), merged.values().next()), (2, removed.values().next()));
    // A tombstone answers whoever still has the contact.
    assert_eq!(sync(&store, ACCOUNT, Kind::Contacts, sent).await.unwrap(), merged);
    assert!(sync(&store, ACCOUNT, Kind::Conversations, Records::new()).await.unwrap().is_empty());
    let error = sync(&store, "nobody", Kind::Contacts, merged).await.unwrap_err();
    assert!(matches!(error, SyncError::NoAccount), "{error}");
}

#[tokio::test]
async fn a_full_list_loses_nothing() {
    let (store, _dir) = store().await;
    let full = list((0..MAX_RECORDS).map(|number| contact(number, json!({"added": 1}))).collect());
    sync(&store, ACCOUNT, Kind::Contacts, full.clone()).await.unwrap();
    let more = list(vec![contact(0, json!({"added": 2})), contact(MAX_RECORDS, json!({"added": 2}))]);
    let error = sync(&store, ACCOUNT, Kind::Contacts, more).await.unwrap_err();
    assert!(matches!(error, SyncError::Full(Kind::Contacts)), "{error}");
    assert_eq!(sync(&store, ACCOUNT, Kind::Contacts, Records::new()).await.unwrap(), full);
    // What is there can still change.
    let changed = sync(&store, ACCOUNT, Kind::Contacts, list(vec![contact(0, json!({"added": 1, "removed": 2}))]));
    assert_eq!(changed.await.unwrap().len(), MAX_RECORDS);

    let large = (0..).map(|number| json!({"id": format!("{number}"), "created": 1, "x": "x".repeat(MAX_BYTES / 20)}));
    let large = Kind::Conversations.read(large.take(20).collect()).unwrap();
    let error = sync(&store, ACCOUNT, Kind::Conversations, large).await.unwrap_err();
    assert!(matches!(error, SyncError::Full(Kind::Conversations)), "{error}");
}

/// Each brings contacts of its own, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_sync_at_once_lose_nothing() {
    let (store, _dir) = store().await;
    let sent = |device: usize| list((0..20).map(|n| contact(device * 100 + n, json!({"added": n}))).collect());
    let devices: Vec<_> = (0..16)
        .map(|device| {
            let (store, sent) = (store.clone(), sent(device));
            tokio::spawn(async move { sync(&store, ACCOUNT, Kind::Contacts, sent).await })
        })
        .collect();
    for device in devices {
        device.await.unwrap().unwrap();
    }
    assert_eq!(sync(&store, ACCOUNT, Kind::Contacts, Records::new()).await.unwrap().len(), 16 * 20);
}
