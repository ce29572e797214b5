//! Sessions over a signature of a recurrent model.

use super::*;
use crate::signature::{Batching, Dim, ElementType, Shape};
use crate::tensor::{Tensor, TensorData};

const PATIENCE: Duration = Duration::from_secs(5);

fn spec(name: &str, element_type: ElementType, dims: &[Dim]) -> ValueSpec {
    ValueSpec { name: name.into(), value_type: ValueType::Tensor { element_type, shape: Shape(Some(dims.to_vec())) } }
}

fn signature() -> ModelSignature {
    let rows = || Dim::Symbolic("N".into());
    ModelSignature {
        inputs: vec![
            spec("x", ElementType::Float32, &[rows(), Dim::Fixed(2)]),
            spec("h", ElementType::Float32, &[Dim::Fixed(1), rows()]),
        ],
        outputs: vec![spec("hn", ElementType::Float32, &[Dim::Fixed(1), rows()])],
        batching: Batching::Unproved { reason: "a test".into() },
    }
}

fn settings() -> StateSettings {
    let pair = StatePair { output: "hn".into(), input: "h".into(), initial: 0.5, shape: vec![] };
    StateSettings { pairs: vec![pair], max_sessions: 2, max_bytes: 64, idle_timeout: Duration::from_secs(60) }
}

fn sessions() -> Sessions {
    Sessions::new(&settings(), &signature()).unwrap().unwrap()
}

fn floats(shape: &[usize], value: f32) -> Value {
    Tensor::new(shape.to_vec(), TensorData::Float32(vec![value; shape.iter().product()])).unwrap().into()
}

fn request(rows: usize) -> Vec<Value> {
    vec![floats(&[rows, 2], 1.0), Value::Absent]
}

fn of(id: &str, start: bool, end: bool) -> Sequence {
    Sequence { id: Some(id.into()), start, end }
}

/// One request of a session, which the model answers with `answer`; the state that it was given.
async fn send(sessions: &Sessions, sequence: Sequence, answer: f32) -> Result<Value, Error> {
    let turn = sessions.turn(&sequence, PATIENCE).await?;
    let inputs = turn.fill(request(1))?;
    turn.keep(&[floats(&[1, 1], answer)])?;
    Ok(inputs[1].clone())
}

#[tokio::test]
async fn each_request_gets_the_state_that_the_one_before_it_gave() {
    let kept = sessions();
    assert_eq!(send(&kept, of("a", true, false), 1.0).await, Ok(floats(&[1, 1], 0.5)));
    assert_eq!(send(&kept, of("b", true, false), 7.0).await, Ok(floats(&[1, 1], 0.5)));
    assert_eq!(send(&kept, of("a", false, false), 2.0).await, Ok(floats(&[1, 1], 1.0)));
    assert_eq!(send(&kept, of("a", true, false), 3.0).await, Ok(floats(&[1, 1], 0.5)), "it begins anew");
    assert_eq!(send(&kept, of("a", false, true), 4.0).await, Ok(floats(&[1, 1], 3.0)));
    assert!(matches!(send(&kept, of("a", false, false), 0.0).await, Err(Error::NotFound(_))));
    let counted = kept.counted();
    assert_eq!((counted.sessions, counted.bytes), (1, 4));
    assert_eq!(counted.events, [("started", 2), ("ended", 1), ("expired", 0), ("refused", 0)]);
}

#[tokio::test]
async fn a_request_of_no_session_begins_with_the_initial_state_and_leaves_nothing() {
    let kept = sessions();
    let turn = kept.turn(&Sequence::default(), PATIENCE).await.unwrap();
    // As many rows as the request has.
    assert_eq!(turn.fill(request(3)).unwrap()[1], floats(&[1, 3], 0.5));
    let own = vec![floats(&[1, 2], 1.0), floats(&[1, 1], 9.0)];
    assert_eq!(turn.fill(own.clone()), Ok(own));
    turn.keep(&[floats(&[1, 3], 1.0)]).unwrap();
    assert_eq!(kept.counted().sessions, 0);
}

#[tokio::test]
async fn a_request_that_fails_changes_nothing() {
    let kept = sessions();
    drop(kept.turn(&of("a", true, false), PATIENCE).await.unwrap());
    assert_eq!(kept.counted().sessions, 0, "it never began");
    send(&kept, of("a", true, false), 1.0).await.unwrap();
    drop(kept.turn(&of("a", false, true), PATIENCE).await.unwrap());
    // A state of another number of rows than the request's is said to be that.
    let turn = kept.turn(&of("a", false, false), PATIENCE).await.unwrap();
    assert!(matches!(turn.fill(request(2)), Err(Error::BadRequest(text)) if text.contains("`h`")));
    drop(turn);
    assert_eq!(send(&kept, of("a", false, false), 2.0).await, Ok(floats(&[1, 1], 1.0)));
}

#[tokio::test]
async fn sessions_are_bounded_in_number_and_bytes() {
    let kept = sessions();
    send(&kept, of("a", true, false), 1.0).await.unwrap();
    send(&kept, of("b", true, false), 1.0).await.unwrap();
    assert!(matches!(send(&kept, of("c", true, false), 1.0).await, Err(Error::QueueFull(_))));
    let turn = kept.turn(&of("a", false, false), PATIENCE).await.unwrap();
    assert!(matches!(turn.keep(&[floats(&[1, 16], 1.0)]), Err(Error::QueueFull(_))));
    assert_eq!(kept.counted().bytes, 8, "what was kept before still is");
    assert_eq!(send(&kept, of("a", false, false), 2.0).await, Ok(floats(&[1, 1], 1.0)));
    assert!(Sequence::default().named(&"x".repeat(LONGEST_ID + 1)).is_err());
}

#[tokio::test]
async fn what_is_idle_for_too_long_is_forgotten() {
    let settings = StateSettings { idle_timeout: Duration::ZERO, ..settings() };
    let kept = Sessions::new(&settings, &signature()).unwrap().unwrap();
    send(&kept, of("a", true, false), 1.0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(matches!(send(&kept, of("a", false, false), 2.0).await, Err(Error::NotFound(_))));
    let counted = kept.counted();
    assert_eq!((counted.sessions, counted.bytes, counted.events[2]), (0, 0, ("expired", 1)));
}

#[tokio::test]
async fn requests_of_one_session_take_turns() {
    let kept = sessions();
    send(&kept, of("a", true, false), 1.0).await.unwrap();
    let first = kept.turn(&of("a", false, false), PATIENCE).await.unwrap();
    let late = kept.turn(&of("a", false, false), Duration::from_millis(5)).await;
    assert!(matches!(late, Err(Error::DeadlineExceeded(_))));
    let second = of("a", false, false);
    let mut second = std::pin::pin!(kept.turn(&second, PATIENCE));
    tokio::select! {
        biased;
        _ = &mut second => panic!("it has to wait"),
        () = std::future::ready(()) => {}
    }
    first.keep(&[floats(&[1, 1], 2.0)]).unwrap();
    assert_eq!(second.await.unwrap().fill(request(1)).unwrap()[1], floats(&[1, 1], 2.0));
}

#[test]
fn settings_that_do_not_fit_the_model_are_refused_by_name() {
    let pair = settings().pairs.remove(0);
    let fault = |pair: StatePair| {
        Sessions::new(&StateSettings { pairs: vec![pair], ..settings() }, &signature()).err().unwrap()
    };
    assert_eq!(fault(StatePair { input: "g".into(), ..pair.clone() }), "the model has no input `g`");
    assert_eq!(fault(StatePair { output: "x".into(), ..pair.clone() }), "the model has no output `x`");
    let wrong = StatePair { shape: vec![StateDim::Size(2), StateDim::Named("N".into())], ..pair.clone() };
    assert!(fault(wrong).contains("isn't one of [1, N]"));
    assert!(Sessions::new(&StateSettings::default(), &signature()).unwrap().is_none());
    let twice = StateSettings { pairs: vec![pair.clone(), pair], ..settings() };
    assert!(Sessions::new(&twice, &signature()).unwrap_err().contains("two pairs"));
}
