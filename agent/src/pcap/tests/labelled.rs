//! Small captures of kinds that are hard to judge, each RST with its truth.

use std::path::{Path, PathBuf};

use super::read;

fn captures() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?.join("shared/data/captures");
    shared.join("labels.tsv").is_file().then_some(shared)
}

/// `*`: any; `!x`: anything but x; `a|b`: either.
fn allows(label: &str, said: &str) -> bool {
    label.split('|').any(|label| match label.strip_prefix('!') {
        Some(other) => said != other,
        None => label == "*" || label == said,
    })
}

#[test]
fn every_rst_has_its_truth() {
    let Some(folder) = captures() else {
        eprintln!("skipped: ../shared/data/captures is not there");
        return;
    };
    let labels = std::fs::read_to_string(folder.join("labels.tsv")).unwrap();
    let (mut wrong, mut rsts) = (Vec::new(), 0);
    for line in labels.lines().skip(1) {
        let [file, direction, origin, cause, _] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let (events, ended) = read(std::fs::read(folder.join(file)).unwrap());
        assert!(ended.is_ok() && !events.is_empty(), "{file}: {ended:?}");
        for event in events {
            rsts += 1;
            let said = [event.direction.token(), event.origin.kind.token(), event.cause.id.token()];
            if ![direction, origin, cause].iter().zip(said).all(|(label, said)| allows(label, said)) {
                wrong.push(format!("{file}, frame {:?}: {said:?}: {:#?}", event.packet.unwrap().frame, event.evidence));
            }
        }
    }
    println!("{rsts} RSTs");
    assert!(wrong.is_empty(), "{} of {rsts}: {}", wrong.len(), wrong.join("\n"));
}
