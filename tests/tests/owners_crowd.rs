//! Ten thousand connections of two hundred processes, lost in every way, on busy processors.

use rstblame_lab::{Result, truths::crowd};

#[test]
fn no_wrong_owner_among_ten_thousand_connections() -> Result<()> {
    let outcome = crowd::run(env!("CARGO_BIN_EXE_actor"), 20_000)?;
    println!("{} connections; agent {:?}; current {:?}", outcome.connections, outcome.agent, outcome.current);
    assert_eq!(outcome.connections, 10_000);
    assert!(outcome.wrong.is_empty(), "{} wrong owners, the first: {:#?}", outcome.wrong.len(), outcome.wrong.first());
    let enough = outcome.agent.ends * 995;
    assert!(outcome.agent.right * 1000 >= enough, "{:?}", outcome.agent);
    Ok(())
}
