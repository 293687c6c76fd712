#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{Answer, FRESH, Monitor, PATIENCE, Question, Report, State, Way};
use crate::{
    kernel::liveness::HookState,
    metrics::{Limits, Metrics, Observer, Snapshot},
    output::sink::{LiveSink, SinkStatus},
};

fn monitor() -> (Monitor, mpsc::Receiver<Question>, Observer) {
    let (metrics, observer) = Metrics::new(Limits { peers: 1, middleboxes: 1 });
    let (monitor, questions) = Monitor::new(Arc::new(metrics));
    (monitor, questions, observer)
}

/// What is said of a session that answers so.
async fn judged(snapshot: Snapshot, way: Way) -> Arc<Report> {
    let (monitor, mut questions, _observer) = monitor();
    let session = async { questions.recv().await.unwrap().answer(Answer { snapshot, way }) };
    tokio::join!(monitor.look(), session).0
}

fn states(report: &Report) -> Vec<(&str, State)> {
    report.checks.iter().map(|check| (check.name.as_str(), check.state)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_lives_and_what_is_dead_is_told_apart() {
    let sink = |name: &str, failing, ended| SinkStatus {
        name: name.to_owned(),
        written: 1,
        lost: 0,
        live: Some(LiveSink { waiting: 0, capacity: 16, failing, ended }),
    };
    let gone = SinkStatus { name: "gone".to_owned(), written: 1, lost: 1, live: None };
    let hooks = vec![("tcp_send_reset", HookState::Attached), ("mark_victim", HookState::Missing), ("sock", HookState::Unverifiable)];
    let good = Snapshot { hooks, sinks: vec![sink("file", false, false), sink("tcp", true, false), gone], ..Snapshot::default() };
    let report = judged(good.clone(), Way::Open).await;
    assert!(report.is_healthy());
    assert_eq!(
        states(&report),
        [
            ("session", State::Ok),
            ("ring", State::Ok),
            ("hook tcp_send_reset", State::Ok),
            ("hook mark_victim", State::Failing),
            ("hook sock", State::Unknown),
            ("sink file", State::Ok),
            ("sink tcp", State::Failing),
        ]
    );
    // A full ring buffer is a flood; what cannot be tested is not dead.
    assert!(judged(good.clone(), Way::Full).await.is_healthy());
    assert!(judged(good.clone(), Way::Untested("no CAP_BPF".to_owned())).await.is_healthy());

    let mut detached = good.clone();
    detached.hooks.push(("tcp_receive_reset", HookState::Detached));
    detached.sinks.push(sink("dead", false, true));
    let report = judged(detached, Way::Open).await;
    assert_eq!(report.dead().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["hook tcp_receive_reset", "sink dead"]);
    let json: serde_json::Value = serde_json::from_slice(&report.to_json()).unwrap();
    assert_eq!(json.get("dead"), Some(&serde_json::json!(["hook tcp_receive_reset", "sink dead"])));
    assert_eq!(report.headline(), "Dead: hook tcp_receive_reset, sink dead");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_does_not_answer_is_stuck_or_its_ring_is() {
    let (monitor, mut questions, observer) = monitor();
    let began = Instant::now();
    let report = monitor.look().await;
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(states(&report), [("session", State::Dead)]);
    assert!(report.snapshot.is_none());

    // It turns, and the heartbeat does not come.
    drop(questions.recv().await);
    tokio::time::advance(FRESH).await;
    let session = async {
        let _kept = questions.recv().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        observer.turned();
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = monitor.look() => report,
        () = session => unreachable!("it has no end"),
    };
    assert_eq!(states(&report), [("session", State::Ok), ("ring", State::Dead)]);

    drop(questions);
    tokio::time::advance(FRESH).await;
    assert!(monitor.has_ended());
    assert_eq!(states(&*monitor.look().await), [("session", State::Dead)]);
}

#[tokio::test(start_paused = true)]
async fn however_many_look_the_session_is_asked_once() {
    let (monitor, mut questions, _observer) = monitor();
    let mut asked = 0;
    let crowd = async {
        for _ in 0..100 {
            assert!(monitor.look().await.is_healthy());
        }
    };
    tokio::select! {
        () = crowd => {}
        () = async {
            while let Some(question) = questions.recv().await {
                asked += 1;
                question.answer(Answer { snapshot: Snapshot::default(), way: Way::Open });
            }
        } => unreachable!("the monitor lives"),
    }
    assert_eq!(asked, 1);
}
