//! The stack machine: one instruction at a time, every pop and every fetch checked.

use super::{
    CALLABLES, Callable, Id, MAX_DIMENSIONS, MAX_KEY, MAX_MARKS, MAX_STACK, MAX_VALUES, Pickle, Refused, STORAGES,
    Value, View,
};

/// Runs a pickle to its end; returns what lies behind it, too.
pub(super) fn run(bytes: &[u8]) -> Result<(Pickle, &[u8]), Refused> {
    let mut machine = Machine { bytes, ..Machine::default() };
    let root = loop {
        if let Some(root) = machine.step()? {
            break root;
        }
    };
    Ok((Pickle { values: machine.values, root }, machine.bytes))
}

/// The machine's state.
#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Pairs copied from lists into dictionaries: one short instruction copies any number.
    copied: usize,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; the root where it was the last.
    fn step(&mut self) -> Result<Option<Id>, Refused> {
        match self.byte()? {
            0x80 => match self.byte()? {
                2..=5 => {}
                other => return Err(Refused::Protocol(other)),
            },
            0x95 => _ = self.take(8)?, // FRAME: a hint for readers of streams
            b'.' => return self.pop().map(Some),
            b'(' => {
                if self.marks.len() == MAX_MARKS {
                    return Err(Refused::Marks);
                }
                self.marks.push(self.stack.len());
            }
            b'0' => _ = self.pop()?,
            b'1' => _ = self.above_mark()?,
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }

            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => {
                let int = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(int.into()))?;
            }
            b'K' => {
                let int = self.byte()?;
                self.push(Value::Int(int.into()))?;
            }
            b'M' => {
                let int = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(int.into()))?;
            }
            0x8a => self.long()?,
            b'G' => {
                let float = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(float))?;
            }
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'U' => self.text(1)?, // Python 2's str
            b'T' => self.text(4)?,
            b'C' => self.blob(1)?,
            b'B' => self.blob(4)?,
            0x8e => self.blob(8)?,

            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => self.collect(Value::List)?,
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.above_mark()?;
                self.append(&items)?;
            }
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b't' => self.collect(Value::Tuple)?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = self.above_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(&items)?;
            }

            b'q' => {
                let index = self.byte()?.into();
                self.put(index)?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.put(index)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'h' => {
                let index = self.byte()?.into();
                self.get(index)?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.get(index)?;
            }

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self[module].clone(), self[name].clone()) {
                    (Value::Text(module), Value::Text(name)) => self.global(&module, &name)?,
                    _ => return Err(Refused::Shape("asks for a function whose name is no string")),
                }
            }
            b'R' => self.call()?,
            b'b' => self.build()?,
            b'Q' => self.storage()?,
            other => return Err(Refused::Instruction(other)),
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(Refused::CutShort)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(Refused::CutShort)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        self.array().map(|[byte]| byte)
    }

    /// Bytes after their count, a little-endian integer of `width` bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], Refused> {
        let mut count = [0; 8];
        count[..width].copy_from_slice(self.take(width)?);
        self.take(usize::try_from(u64::from_le_bytes(count)).map_err(|_| Refused::CutShort)?)
    }

    fn text(&mut self, width: usize) -> Result<(), Refused> {
        let text = std::str::from_utf8(self.counted(width)?).map_err(|_| Refused::Text)?;
        self.push(Value::Text(text.into()))
    }

    fn blob(&mut self, width: usize) -> Result<(), Refused> {
        let blob = self.counted(width)?;
        self.push(Value::Bytes(blob.into()))
    }

    fn long(&mut self) -> Result<(), Refused> {
        let digits = self.counted(1)?;
        let negative = digits.last().is_some_and(|&top| top & 0x80 != 0);
        let mut whole = if negative { [0xff; 8] } else { [0; 8] };
        whole.get_mut(..digits.len()).ok_or(Refused::Integer)?.copy_from_slice(digits);
        self.push(Value::Int(i64::from_le_bytes(whole)))
    }

    /// Text up to the end of its line, which is dropped.
    fn line(&mut self) -> Result<&'a str, Refused> {
        let end = self.bytes.iter().position(|&b| b == b'\n').ok_or(Refused::CutShort)?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| Refused::Text)
    }

    fn push_id(&mut self, id: Id) -> Result<(), Refused> {
        if self.stack.len() == MAX_STACK {
            return Err(Refused::Stack);
        }
        self.stack.push(id);
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), Refused> {
        if self.values.len() == MAX_VALUES {
            return Err(Refused::Values);
        }
        self.values.push(value);
        self.push_id(Id(self.values.len() as u32 - 1))
    }

    /// The top of the stack, never from below the last mark.
    fn top(&self) -> Result<Id, Refused> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or(Refused::Underflow)
    }

    fn pop(&mut self) -> Result<Id, Refused> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Takes the last mark and what lies above it.
    fn above_mark(&mut self) -> Result<Vec<Id>, Refused> {
        let mark = self.marks.pop().ok_or(Refused::Underflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn collect(&mut self, make: fn(Vec<Id>) -> Value) -> Result<(), Refused> {
        let items = self.above_mark()?;
        self.push(make(items))
    }

    fn tuple(&mut self, n: usize) -> Result<(), Refused> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    /// Adds to the list on top of the stack.
    fn append(&mut self, items: &[Id]) -> Result<(), Refused> {
        let top = self.top()?;
        match &mut self[top] {
            Value::List(list) => list.extend(items),
            _ => return Err(Refused::Shape("appends to what is no list")),
        }
        Ok(())
    }

    /// Adds keys and values, in turn, to the dictionary on top of the stack.
    fn set(&mut self, items: &[Id]) -> Result<(), Refused> {
        let top = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self[top] {
            Value::Dict(dict) if rest.is_empty() => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Value::Dict(_) => return Err(Refused::Shape("sets a key without a value")),
            _ => return Err(Refused::Shape("sets a key of what is no dictionary")),
        }
        Ok(())
    }

    fn put(&mut self, index: u32) -> Result<(), Refused> {
        let (at, top) = (index as usize, self.top()?);
        if at >= MAX_VALUES {
            return Err(Refused::MemoIndex(index));
        }
        if at >= self.memo.len() {
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(top);
        Ok(())
    }

    fn get(&mut self, index: u32) -> Result<(), Refused> {
        let id = self.memo.get(index as usize).copied().flatten().ok_or(Refused::Memo(index))?;
        self.push_id(id)
    }

    /// Looks a function or a type up in the tables of what may be asked for.
    fn global(&mut self, module: &str, name: &str) -> Result<(), Refused> {
        if let Some((.., callable)) = CALLABLES.iter().find(|(m, n, _)| (*m, *n) == (module, name)) {
            return self.push(Value::Callable(*callable));
        }
        match STORAGES.iter().find(|storage| module == "torch" && storage.name == name) {
            Some(storage) => self.push(Value::StorageType(storage)),
            None => Err(Refused::Global(format!("{module}.{name}"))),
        }
    }

    fn call(&mut self) -> Result<(), Refused> {
        let (args, function) = (self.pop()?, self.pop()?);
        let (Value::Callable(function), Value::Tuple(args)) = (&self[function], &self[args]) else {
            return Err(Refused::Shape("calls what is no function"));
        };
        match (function, args.as_slice()) {
            (Callable::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Callable::OrderedDict, &[pairs]) => {
                let dict = self.pairs(pairs)?;
                self.push(Value::Dict(dict))
            }
            (Callable::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let view = self.view(storage, offset, shape, strides)?;
                self.push(Value::Tensor(view))
            }
            (Callable::RebuildParameter, &[tensor, ..]) if matches!(self[tensor], Value::Tensor(_)) => {
                self.push_id(tensor)
            }
            (Callable::Size, &[sizes]) if matches!(self[sizes], Value::Tuple(_)) => self.push_id(sizes),
            _ => Err(Refused::Shape("calls a function with wrong arguments")),
        }
    }

    fn pairs(&mut self, list: Id) -> Result<Vec<(Id, Id)>, Refused> {
        let wrong = Refused::Shape("makes a dictionary of what are no pairs");
        let Value::List(pairs) = &self[list] else { return Err(wrong) };
        let copied = self.copied + pairs.len();
        if copied > MAX_VALUES {
            return Err(Refused::Values);
        }
        let pair = |&pair: &Id| match &self[pair] {
            Value::List(pair) | Value::Tuple(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok().map(|[k, v]| (k, v)),
            _ => None,
        };
        let pairs = pairs.iter().map(pair).collect::<Option<_>>().ok_or(wrong);
        self.copied = copied;
        pairs
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<View, Refused> {
        let wrong = Refused::Shape("describes a tensor wrongly");
        let (Value::Stored { storage, key, elements, start }, Value::Tuple(shape), Value::Tuple(strides), Some(offset)) =
            (&self[storage], &self[shape], &self[strides], self.natural(offset))
        else {
            return Err(wrong);
        };
        let Some(offset) = offset.checked_add(*start) else { return Err(wrong) };
        let dimensions = shape.len().max(strides.len());
        if dimensions > MAX_DIMENSIONS {
            return Err(Refused::Dimensions(dimensions));
        }
        match (self.naturals(shape), self.naturals(strides)) {
            (Some(shape), Some(strides)) if shape.len() == strides.len() => {
                Ok(View { storage, key: key.clone(), elements: *elements, offset, shape, strides })
            }
            _ => Err(wrong),
        }
    }

    fn natural(&self, id: Id) -> Option<u64> {
        if let Value::Int(int) = self[id] { int.try_into().ok() } else { None }
    }

    fn naturals(&self, items: &[Id]) -> Option<Vec<u64>> {
        items.iter().map(|&item| self.natural(item)).collect()
    }

    /// Drops the attributes of a dictionary (torch hangs `_metadata` on state dicts); nothing else has any.
    fn build(&mut self) -> Result<(), Refused> {
        self.pop()?;
        let top = self.top()?;
        match self[top] {
            Value::Dict(_) => Ok(()),
            _ => Err(Refused::Shape("sets attributes of what is no dictionary")),
        }
    }

    /// A reference to a storage: `("storage", type, key, device, elements)`, before torch 1.6 with a sixth item: nothing,
    /// or for a part of a storage `(key, first element, elements)`.
    fn storage(&mut self) -> Result<(), Refused> {
        let id = self.pop()?;
        let stored = || {
            let Value::Tuple(items) = &self[id] else { return None };
            let (&[tag, storage, key, _, elements], part) = items.split_first_chunk()?;
            let start = match part {
                [] => 0,
                &[part] => match &self[part] {
                    Value::None => 0,
                    Value::Tuple(part) => self.natural(*part.get(1)?)?,
                    _ => return None,
                },
                _ => return None,
            };
            match (&self[tag], &self[storage], &self[key]) {
                (Value::Text(tag), Value::StorageType(storage), Value::Text(key)) if tag == "storage" => {
                    Some((*storage, key, self.natural(elements)?, start))
                }
                _ => None,
            }
        };
        let (storage, key, elements, start) = stored().ok_or(Refused::Shape("refers to what is no storage"))?;
        if key.len() > MAX_KEY {
            return Err(Refused::Key(key.len()));
        }
        let key = key.clone();
        self.push(Value::Stored { storage, key, elements, start })
    }
}

impl std::ops::Index<Id> for Machine<'_> {
    type Output = Value;
    fn index(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }
}

impl std::ops::IndexMut<Id> for Machine<'_> {
    fn index_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }
}
