use aya::{EbpfLoader, programs::SocketFilter};
fn main() {
    let data = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let mut ebpf = EbpfLoader::new().verifier_log_level(aya::VerifierLogLevel::VERBOSE | aya::VerifierLogLevel::STATS).load(&data).unwrap();
    for name in std::env::args().skip(2) {
        let p: &mut SocketFilter = ebpf.program_mut(&name).unwrap().try_into().unwrap();
        match p.load() {
            Ok(()) => println!("{name}: ok {:?}", p.info().ok().and_then(|i| i.verified_instruction_count())),
            Err(e) => println!(
                "{name}: {}",
                match e {
                    aya::programs::ProgramError::LoadError { io_error, verifier_log } => format!("{io_error}\n{verifier_log}"),
                    e => format!("{e:?}"),
                }
            ),
        }
    }
}
