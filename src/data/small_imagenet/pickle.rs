//! Reads what numpy puts into a pickle (protocols 2 to 4), and nothing else.
//!
//! A pickle is a program for a stack machine that may call any function of Python's. This one knows the
//! instructions that build numbers, text, bytes, tuples, lists and dictionaries, and the five functions
//! numpy's arrays need, which it does not call either: it reads their arguments. Any other instruction
//! or function is refused by name. Large bytes are not copied: a value says where in the file they are.
//!
//! Containers are changed after they were memoised, so values live in an arena and refer to each other
//! by number.

use std::collections::HashMap;
use std::ops::Range;

/// Values a file may hold; a hostile one would fill the memory with them.
const MAX_VALUES: usize = 16 << 20;

/// A value's number in the arena.
type Id = usize;

/// Bytes of the file, or bytes that were stored as text.
#[derive(Clone, Debug, PartialEq)]
pub enum Blob {
    /// Where in the file they are.
    At(Range<usize>),
    /// Decoded from text.
    Own(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(String),
    Bytes(Blob),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    Dtype(String),
    Array(Array),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Reconstruct,
    Ndarray,
    Dtype,
    Scalar,
    Encode,
}

/// An array as it lies in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    /// Extents.
    pub shape: Vec<usize>,
    /// numpy's name with the byte order, `|u1`, `<f8`.
    pub dtype: String,
    /// Column after column.
    pub fortran: bool,
    /// The elements.
    pub data: Option<Blob>,
}

/// What a dictionary of arrays and lists of whole numbers holds, by key.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An array.
    Array(Array),
    /// A list of whole numbers.
    Ints(Vec<i64>),
    /// Anything else, in words.
    Other(&'static str),
}

/// Reads a pickled dictionary.
///
/// # Errors
/// In words with the byte: an instruction or function that is refused, a pickle that ends early, one
/// that holds no dictionary.
pub fn read(bytes: &[u8]) -> Result<HashMap<String, Entry>, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let top = machine.run()?;
    let Value::Dict(pairs) = &machine.values[top] else {
        let found = machine.values[top].name();
        return Err(format!("holds {found}, expected a dictionary"));
    };
    let mut entries = HashMap::new();
    for &(key, value) in pairs {
        let key = match &machine.values[key] {
            Value::Text(text) => text.clone(),
            Value::Bytes(blob) => String::from_utf8_lossy(machine.slice(blob)).into_owned(),
            other => return Err(format!("a key is {}, expected text", other.name())),
        };
        entries.insert(key, machine.entry(value));
    }
    Ok(entries)
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let at = self.at;
            let opcode = self.take(1)?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)
                .map_err(|why| match why.contains(" at byte ") {
                    true => why,
                    false => format!("{why} at byte {at}"),
                })?;
            if self.values.len() > MAX_VALUES {
                return Err(format!("more than {MAX_VALUES} values at byte {at}"));
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => match self.take(1)?[0] {
                2..=4 => {}
                other => return Err(format!("pickle protocol {other}, expected 2, 3 or 4")),
            },
            // FRAME: a length that only buffering needs.
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => {
                let word = self.take(4)?.try_into().unwrap_or_default();
                self.push(Value::Int(i32::from_le_bytes(word).into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Float);
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'U' | b'C' => self.blob(1)?,
            b'T' | b'B' => self.blob(4)?,
            0x8e => self.blob(8)?,
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b't' => {
                let items = self.above_mark()?;
                self.push(Value::Tuple(items));
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(opcode) - 0x84);
                let items = self.stack.split_off(from.ok_or("an empty stack")?);
                self.push(Value::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.above_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(vec![key, value])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.insert(items)?;
            }
            b'q' => {
                let index = self.number(1)?;
                self.memoise(index)?;
            }
            b'r' => {
                let index = self.number(4)?;
                self.memoise(index)?;
            }
            0x94 => self.memoise(self.memo.len())?,
            b'h' => {
                let index = self.number(1)?;
                self.recall(index)?;
            }
            b'j' => {
                let index = self.number(4)?;
                self.recall(index)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.function(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => {
                        let (module, name) = (module.clone(), name.clone());
                        self.function(&module, &name)?;
                    }
                    _ => return Err("a function whose name is no text".into()),
                }
            }
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => return Err(format!("refused instruction {}", instruction(other))),
        }
        Ok(())
    }

    fn function(&mut self, module: &str, name: &str) -> Result<(), String> {
        let function = match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Function::Reconstruct
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Function::Scalar,
            ("numpy", "ndarray") => Function::Ndarray,
            ("numpy", "dtype") => Function::Dtype,
            ("_codecs", "encode") => Function::Encode,
            _ => {
                return Err(format!(
                    "refused function {module}.{name}: a file of arrays needs none but numpy's"
                ));
            }
        };
        self.push(Value::Function(function));
        Ok(())
    }

    /// A call: what it would make is made from the arguments.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Function(function), Value::Tuple(arguments)) =
            (&self.values[function], &self.values[arguments])
        else {
            return Err("refused call of something that is no function".into());
        };
        let arguments: Vec<&Value> = arguments.iter().map(|&id| &self.values[id]).collect();
        let made = match (function, arguments.as_slice()) {
            (Function::Reconstruct, [Value::Function(Function::Ndarray), ..]) => {
                Value::Array(Array::default())
            }
            (Function::Dtype, [Value::Text(name), ..]) => Value::Dtype(name.clone()),
            (Function::Dtype, [Value::Bytes(name), ..]) => {
                Value::Dtype(String::from_utf8_lossy(self.slice(name)).into_owned())
            }
            (Function::Encode, [Value::Text(text), Value::Text(codec)]) if codec == "latin1" => {
                let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
                let bytes = bytes.map_err(|_| "text that is not latin1 where bytes must be")?;
                Value::Bytes(Blob::Own(bytes))
            }
            (Function::Scalar, [Value::Dtype(dtype), Value::Bytes(blob)]) => {
                let bytes = self.slice(blob);
                let int = super::npy::ints(dtype, bytes).and_then(|ints| ints.first().copied());
                int.map_or(Value::Float, Value::Int)
            }
            _ => return Err(format!("refused arguments of {function:?}")),
        };
        self.push(made);
        Ok(())
    }

    /// The state of the value below: numpy's dtypes and arrays have one.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let target = *self.stack.last().ok_or("an empty stack")?;
        let Value::Tuple(state) = &self.values[state] else {
            return Err("refused state that is no tuple".into());
        };
        let state: Vec<&Value> = state.iter().map(|&id| &self.values[id]).collect();
        let built = match (&self.values[target], state.as_slice()) {
            (Value::Dtype(name), [Value::Int(_), order, fields, names, shape, ..]) => {
                let order = match order {
                    Value::Text(order) => order.clone(),
                    Value::Bytes(order) => String::from_utf8_lossy(self.slice(order)).into_owned(),
                    _ => return Err("refused state of a dtype".into()),
                };
                let plain = [fields, names, shape]
                    .iter()
                    .all(|v| matches!(v, Value::None));
                if !plain {
                    return Err(format!("refused dtype {name} with fields"));
                }
                Value::Dtype(format!("{order}{name}"))
            }
            (
                Value::Array(_),
                [
                    Value::Int(1),
                    Value::Tuple(shape),
                    Value::Dtype(dtype),
                    Value::Bool(fortran),
                    data,
                ],
            ) => {
                let extent = |&id: &Id| match self.values[id] {
                    Value::Int(extent) => usize::try_from(extent).ok(),
                    _ => None,
                };
                let shape: Option<Vec<usize>> = shape.iter().map(extent).collect();
                let Value::Bytes(data) = data else {
                    return Err(format!(
                        "refused array of {dtype}: its elements are no bytes"
                    ));
                };
                Value::Array(Array {
                    shape: shape.ok_or("an array with an extent that is no whole number")?,
                    dtype: dtype.clone(),
                    fortran: *fortran,
                    data: Some(data.clone()),
                })
            }
            (other, _) => return Err(format!("refused state of {}", other.name())),
        };
        self.values[target] = built;
        Ok(())
    }

    fn entry(&self, id: Id) -> Entry {
        match &self.values[id] {
            Value::Array(array) => Entry::Array(array.clone()),
            Value::List(items) => {
                let int = |&id: &Id| match self.values[id] {
                    Value::Int(int) => Some(int),
                    _ => None,
                };
                let ints: Option<Vec<i64>> = items.iter().map(int).collect();
                ints.map_or(Entry::Other("a list of other things"), Entry::Ints)
            }
            other => Entry::Other(other.name()),
        }
    }

    fn slice<'b>(&'b self, blob: &'b Blob) -> &'b [u8] {
        match blob {
            Blob::At(range) => &self.bytes[range.clone()],
            Blob::Own(bytes) => bytes,
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self
            .at
            .checked_add(count)
            .filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            let left = self.bytes.len() - self.at;
            format!(
                "truncated: {count} bytes expected at byte {}, {left} left",
                self.at
            )
        })?;
        let from = std::mem::replace(&mut self.at, end);
        Ok(&self.bytes[from..end])
    }

    /// A little-endian number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, String> {
        let taken = self.take(bytes)?;
        let value = taken
            .iter()
            .rev()
            .fold(0u64, |value, &b| value << 8 | u64::from(b));
        usize::try_from(value).map_err(|_| "a length beyond this machine's memory".into())
    }

    fn int(&mut self, bytes: usize) -> Result<(), String> {
        let value = self.number(bytes)?;
        self.push(Value::Int(value as i64));
        Ok(())
    }

    /// Two's complement of any length, here up to eight bytes.
    fn long(&mut self) -> Result<(), String> {
        let count = self.number(1)?;
        let taken = self.take(count)?;
        if count > 8 {
            return Err("a whole number of more than 64 bits".into());
        }
        let negative = taken.last().is_some_and(|&top| top >= 0x80);
        let mut word = [if negative { 0xff } else { 0 }; 8];
        word[..count].copy_from_slice(taken);
        self.push(Value::Int(i64::from_le_bytes(word)));
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), String> {
        let length = self.number(width)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "text that is not UTF-8")?;
        let text = text.to_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn blob(&mut self, width: usize) -> Result<(), String> {
        let length = self.number(width)?;
        self.take(length)?;
        self.push(Value::Bytes(Blob::At(self.at - length..self.at)));
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(256).position(|&b| b == b'\n');
        let line = &rest[..end.ok_or("truncated: a function's name")?];
        self.at += line.len() + 1;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "an empty stack".into())
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("a mark that is missing")?))
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<(), String> {
        let list = *self.stack.last().ok_or("an empty stack")?;
        match &mut self.values[list] {
            Value::List(list) => list.extend(items),
            other => return Err(format!("items for {}", other.name())),
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<Id>) -> Result<(), String> {
        let dict = *self.stack.last().ok_or("an empty stack")?;
        let pairs = items.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err("a key without a value".into());
        }
        match &mut self.values[dict] {
            Value::Dict(dict) => dict.extend(pairs.map(|pair| (pair[0], pair[1]))),
            other => return Err(format!("entries for {}", other.name())),
        }
        Ok(())
    }

    fn memoise(&mut self, index: usize) -> Result<(), String> {
        let top = *self.stack.last().ok_or("an empty stack")?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Result<(), String> {
        let id = self.memo.get(&index).ok_or("a memo that is missing")?;
        self.stack.push(*id);
        Ok(())
    }
}

impl Value {
    fn name(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "a whole number",
            Value::Float => "a number",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Function(_) => "a function",
            Value::Dtype(_) => "a dtype",
            Value::Array(_) => "an array",
        }
    }
}

/// Names of the instructions one may meet, from Python's `pickletools`.
fn instruction(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        b'P' => "PERSID",
        b'Q' => "BINPERSID",
        0x82..=0x84 => "EXT",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        0x8b => "LONG4",
        0x8f..=0x91 => "a set",
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'd' | b'l' | b'p' | b'g' => "of protocol 0",
        _ => return format!("{opcode:#04x}: this is no pickle"),
    };
    format!("{name} ({opcode:#04x})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8], part: &str) {
        let error = read(bytes).unwrap_err();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }

    #[test]
    fn a_dictionary_of_numbers_is_read() {
        // {'a': [1, 300, -2], 'b': None}, protocol 2 with a memo that is used.
        let bytes = b"\x80\x02}q\x00(X\x01\0\0\0aq\x01]q\x02(K\x01M\x2c\x01J\xfe\xff\xff\xffe\
                      X\x01\0\0\0bNX\x01\0\0\0ch\x02u.";
        let entries = read(bytes).unwrap();
        assert_eq!(entries["a"], Entry::Ints(vec![1, 300, -2]));
        assert_eq!(entries["b"], Entry::Other("None"));
        assert_eq!(entries["c"], entries["a"]);
    }

    #[test]
    fn nothing_is_executed_and_what_is_refused_is_named() {
        refused(b"\x80\x02cos\nsystem\n(X\x02\0\0\0lstR.", "os.system");
        refused(
            b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
            "builtins.eval",
        );
        refused(b"\x80\x02cnumpy\nload\n.", "numpy.load");
        refused(b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ");
        refused(b"\x80\x02(cnumpy\ndtype\no.", "OBJ");
        refused(b"(ios\nsystem\n.", "INST");
        refused(b"\x80\x05.", "protocol 5");
        refused(b"\x80\x02]\x96\0\0\0\0\0\0\0\0.", "BYTEARRAY8");
        refused(b"hello", "byte 0");
    }

    #[test]
    fn broken_programs_are_errors() {
        refused(b"", "truncated");
        refused(b"\x80\x02}", "truncated");
        refused(b"\x80\x02X\xff\xff\xff\xff", "truncated");
        refused(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "truncated");
        refused(b"\x80\x02K\x01.", "a whole number, expected a dictionary");
        refused(b"\x80\x02e.", "mark");
        refused(b"\x80\x02}(K\x01u.", "without a value");
        refused(b"\x80\x02}K\x01a.", "items for a dictionary");
        refused(b"\x80\x02h\x07.", "memo");
        refused(b"\x80\x02}K\x01b.", "state");
        refused(b".", "empty stack");
        // A mark that lies above the stack by the time it is used.
        refused(b"\x80\x02K\x01(0.", "POP");
    }
}
