//! `whatwhere doctor` says what there is and what will be used, and fails for a device that is not there.

use std::process::Command;

/// Exit code, standard output and standard error.
fn doctor(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_whatwhere"))
        .arg("doctor")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn everything_is_named() {
    let (code, said, _) = doctor(&[]);
    assert_eq!(code, Some(0), "{said}");
    let names = [
        "program", "cpu", "emulator", "kernels", "driver", "gpu", "cudnn", "nccl", "auto",
    ];
    for name in names {
        let mut lines = said.lines();
        let line = lines.find(|line| line.split(' ').next() == Some(name));
        let rest = line.map(|line| line[name.len()..].trim());
        assert!(rest.is_some_and(|rest| !rest.is_empty()), "{name}: {said}");
    }
    // How the kernels were compiled, and what a run without --device gets.
    assert!(said.contains("nvcc"), "{said}");
    assert!(
        said.contains("uses cpu: device cuda:0") || said.contains("uses cuda:0"),
        "{said}"
    );
}

#[test]
fn devices_that_are_not_there_are_errors() {
    let (code, _, said) = doctor(&["--device", "cpu"]);
    assert_eq!(code, Some(0), "{said}");
    // Whatever this machine has, it has no such GPU.
    let (code, _, said) = doctor(&["--device", "cuda:4000"]);
    assert_ne!(code, Some(0));
    assert!(
        said.contains("device cuda:4000 is not available: "),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    let (code, _, said) = doctor(&["--device", "gpu7"]);
    assert_ne!(code, Some(0));
    assert!(said.contains("gpu7"), "{said}");
}
