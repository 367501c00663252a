//! Every operation, by its declaration: contract, gradients, adjoints, precision, on declared and on
//! random cases. Wrong operations, and what is no operation at all: tests/mutations.

use whatwhere::check;
use whatwhere::device::Device;
use whatwhere::ops::{self, Draw};
use whatwhere::rng::{Key, Purpose};
use whatwhere::tensor::{DType, Shape};

#[test]
fn every_declared_operation_passes() {
    for declaration in ops::declarations() {
        for seed in 0..3 {
            for report in check::declaration(&declaration, seed).unwrap() {
                assert!(report.passed(), "{report}");
            }
        }
    }
}

/// `whatwhere gradcheck --cases 12 --device cpu`, but for what it prints.
#[test]
fn random_cases_pass() {
    for declaration in ops::declarations() {
        for index in 0..12 {
            let choices = check::choices(&declaration, 1, index);
            let case = check::case_of(&declaration, &choices);
            let report = check::case(&case, declaration.linear, 1).unwrap();
            assert!(report.passed(), "{choices:?}: {report}");
        }
    }
}

/// The loss of VGG and ResNet under every intervention: the tape against differences, f32 against f64.
#[test]
fn networks_pass() {
    let cases = check::network_cases().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let wide = case.run(1).unwrap();
        assert!(wide.passed(), "{wide}");
        let narrow = case.run_on(Device::Cpu, DType::F32, 1).unwrap();
        assert!(narrow.passed(), "{narrow}");
    }
}

/// The program: exit code, table, JSON and page.
#[test]
fn the_command() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_whatwhere");
        let output = std::process::Command::new(program)
            .current_dir(folder.path())
            .arg("gradcheck")
            .args(arguments)
            .output()
            .unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
        (output.status.code(), out + &err)
    };
    let relu = ["--op", "relu", "--device", "cpu", "--cases", "3"];
    let (code, said) = run(&[&relu[..], &["--json", "t.json", "--html", "t.html"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("relu") && said.contains("pass"), "{said}");
    let json = std::fs::read_to_string(folder.path().join("t.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 2);
    assert_eq!(json["rows"][0]["cases"], 5);
    let page = std::fs::read_to_string(folder.path().join("t.html")).unwrap();
    assert!(page.contains("and every one passed"));
    let (code, said) = run(&[&relu[..4], &["--case", "drawn:1.2.3", "--dtype", "f64"]].concat());
    assert_eq!(code, Some(0), "{said}");
    for (wrong, says) in [
        (&["--op", "tanh"][..], "known: conv2d"),
        (
            &["--op", "relu", "--case", "declared:99"],
            "declares 2 cases",
        ),
        (&["--op", "relu", "--case", "x"], "declared:INDEX"),
        (
            &["--device", "cpu", "--dtype", "bf16"],
            "the CPU has f64 and f32",
        ),
        (&["--dtype", "f8"], "known: f64"),
    ] {
        let (code, said) = run(wrong);
        assert!(code == Some(1) || code == Some(2), "{wrong:?}: {said}");
        assert!(said.contains(says), "{wrong:?}: {said}");
    }
}

/// Random cases fit together and are named by their choices; no choices at all are a case too.
#[test]
fn random_cases_are_valid_and_can_be_played_back() {
    for declaration in ops::declarations() {
        for index in 0..300 {
            let key = Key::new(8, Purpose::Check, index, 0);
            let mut draw = Draw::random(key.stream(0));
            let case = (declaration.fuzz)(&mut draw);
            let shapes: Vec<&Shape> = case.inputs.iter().map(|i| i.shape()).collect();
            case.op.output_shape(&shapes).unwrap();
            let again = (declaration.fuzz)(&mut Draw::replay(draw.choices()));
            assert_eq!(again.label, case.label);
        }
        let simplest = (declaration.fuzz)(&mut Draw::replay(&[]));
        let shapes: Vec<&Shape> = simplest.inputs.iter().map(|i| i.shape()).collect();
        simplest.op.output_shape(&shapes).unwrap();
    }
}

/// The table in the documentation is the declarations'. UPDATE=1 writes it anew.
#[test]
fn documented_table_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- table -->\n", "<!-- end of table -->");
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let mut table =
        String::from("| Operation | What it computes | Linear | Cases |\n|---|---|---|---|\n");
    for d in ops::declarations() {
        let linear = if d.linear { "yes" } else { "no" };
        let cases = (d.cases)().len();
        table += &format!("| `{}` | {} | {linear} | {cases} |\n", d.name, d.summary);
    }
    let current = format!("{head}{begin}{table}{end}{tail}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &current).unwrap();
    } else {
        assert!(
            text == current,
            "{path} is stale: run this test with UPDATE=1"
        );
    }
}
