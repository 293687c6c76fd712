//! A tracepoint's `format`: fields are named once and found by their names, and empty lines mean
//! nothing.

use rstblame::kernel::{layout, reasons::Reasons, tracefs::Format};

pub fn holds(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(format) = Format::parse(text) else { return };
    for field in &format.fields {
        assert!(!field.name.is_empty() && !field.name.contains(char::is_whitespace), "{field:?}");
        let found = format.field(&field.name).expect("a field is found by its name");
        assert_eq!(found.name, field.name);
        for (_, symbol) in format.symbols(&field.name) {
            assert!(text.contains(symbol));
        }
    }
    let spaced = Format::parse(&format!("{text}\n\n")).expect("empty lines mean nothing");
    assert_eq!(format!("{:?}", layout::record_format(&format)), format!("{:?}", layout::record_format(&spaced)));
    let names = |format: &Format| (0..32).map(|code| Reasons::from_format(format).name(code).map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(names(&format), names(&spaced));
}
