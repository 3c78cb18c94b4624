use serde_json::{Value, json};

use super::*;
use crate::store::tests::temporary;

const NOW: i64 = 1_000_000_000;
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
    Kind::Contacts.read(elements, NOW).unwrap()
}

#[tokio::test]
async fn lists_are_kept_by_account_and_kind() {
    let (store, _dir) = store().await;
    let sent = list(vec![contact(1, json!({"added": 1})), contact(2, json!({"added": 1, "x": "\0é"}))]);
    let merged = sync(&store, ACCOUNT, Kind::Contacts, sent.clone(), NOW).await.unwrap();
    assert_eq!(merged, sent);
    let removed = list(vec![contact(1, json!({"added": 1, "removed": 2}))]);
    let merged = sync(&store, ACCOUNT, Kind::Contacts, removed.clone(), NOW).await.unwrap();
    assert_eq!((merged.len(), merged.values().next()), (2, removed.values().next()));
    // A tombstone answers whoever still has the contact.
    assert_eq!(sync(&store, ACCOUNT, Kind::Contacts, sent, NOW).await.unwrap(), merged);
    assert!(sync(&store, ACCOUNT, Kind::Conversations, Records::new(), NOW).await.unwrap().is_empty());
    let error = sync(&store, "nobody", Kind::Contacts, merged, NOW).await.unwrap_err();
    assert!(matches!(error, SyncError::NoAccount), "{error}");
}

#[tokio::test]
async fn a_full_list_loses_nothing() {
    let (store, _dir) = store().await;
    let full = list((0..MAX_RECORDS).map(|number| contact(number, json!({"added": 1}))).collect());
    sync(&store, ACCOUNT, Kind::Contacts, full.clone(), NOW).await.unwrap();
    let more = list(vec![contact(0, json!({"added": 2})), contact(MAX_RECORDS, json!({"added": 2}))]);
    let error = sync(&store, ACCOUNT, Kind::Contacts, more, NOW).await.unwrap_err();
    assert!(matches!(error, SyncError::Full(Kind::Contacts)), "{error}");
    assert_eq!(sync(&store, ACCOUNT, Kind::Contacts, Records::new(), NOW).await.unwrap(), full);
    // What is there can still change.
    let changed = sync(&store, ACCOUNT, Kind::Contacts, list(vec![contact(0, json!({"added": 1, "removed": 2}))]), NOW);
    assert_eq!(changed.await.unwrap().len(), MAX_RECORDS);

    let large = (0..).map(|number| json!({"id": format!("{number}"), "created": 1, "x": "x".repeat(MAX_BYTES / 20)}));
    let large = Kind::Conversations.read(large.take(20).collect(), NOW).unwrap();
    let error = sync(&store, ACCOUNT, Kind::Conversations, large, NOW).await.unwrap_err();
    assert!(matches!(error, SyncError::Full(Kind::Conversations)), "{error}");
}

/// Each brings contacts of its own, as if they came to four servers at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_sync_at_once_lose_nothing() {
    let (store, _dir) = store().await;
    let sent = |device: usize| list((0..20).map(|n| contact(device * 100 + n, json!({"added": n}))).collect());
    let servers: Vec<_> = (0..4)
        .map(|server| {
            let (store, sent) = (store.clone(), (0..4).map(|device| sent(4 * server + device)).collect::<Vec<_>>());
            tokio::spawn(async move {
                for sent in sent {
                    sync(&store, ACCOUNT, Kind::Contacts, sent, NOW).await.unwrap();
                }
            })
        })
        .collect();
    for server in servers {
        server.await.unwrap();
    }
    assert_eq!(sync(&store, ACCOUNT, Kind::Contacts, Records::new(), NOW).await.unwrap().len(), 16 * 20);
}

/// What another server has written since is not written over.
#[tokio::test]
async fn what_was_merged_before_another_one_wrote_is_not_written() {
    let (store, _dir) = store().await;
    let seen = store.jami_records(ACCOUNT, "contacts").await.unwrap().unwrap().revision;
    let change = |id: &str| (id.to_owned(), "{}".to_owned());
    // More than one statement takes.
    let many: Vec<_> = (0..1_200).map(|id| change(&id.to_string())).collect();
    assert!(store.change_jami_records(ACCOUNT, "contacts", seen, &many).await.unwrap());
    assert!(!store.change_jami_records(ACCOUNT, "contacts", seen, &[change("late")]).await.unwrap());
    assert!(!store.change_jami_records("nobody", "contacts", 0, &[change("late")]).await.unwrap());
    let kept = store.jami_records(ACCOUNT, "contacts").await.unwrap().unwrap();
    assert_eq!(kept.read().unwrap().len(), 1_200);
}
