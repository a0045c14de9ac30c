//! What of a state counts from now on, as bytes.
//!
//! A machine's snapshot holds all that it knows, and some of that grows for ever: counters, digests, moments, sentences. A
//! fold writes the snapshot with such fields left out or made small, by a table of rules. **Fields without a rule are kept
//! as they are**, so that a new one can't be forgotten: at worst the space is larger than it need be.

use serde::{Serialize, ser};

/// What becomes of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// It decides nothing.
    Drop,
    /// Only whether it is there, or holds anything.
    Presence,
    /// Numbers in it: not above this.
    AtMost(u64),
    /// Moments in it: how long ago, in whole units, at most so many.
    Age(i64),
    /// As `Age`, where the state that was written last is one of these; else nothing.
    AgeIn(i64, &'static [&'static str]),
    /// Moments in it: in how many units, rounded up.
    Ahead,
}

/// The rules of a machine.
pub(crate) struct Rules {
    /// Structs of which nothing counts.
    pub(crate) nothing: &'static [&'static str],
    /// (struct or variant, field, rule).
    pub(crate) fields: &'static [(&'static str, &'static str, Rule)],
    /// A unit of time, milliseconds.
    pub(crate) unit: i64,
    /// Fields that are left out though they decide: to see that they are missed.
    pub(crate) blind: &'static [(&'static str, &'static str)],
}

impl Rules {
    fn of(&self, of: &str, field: &str) -> Option<Rule> {
        let blind: &[(&str, &str)] = self.blind;
        if blind.contains(&(of, field)) {
            return Some(Rule::Drop);
        }
        self.fields.iter().find(|(s, f, _)| *s == of && *f == field).map(|(_, _, rule)| *rule)
    }

    /// The fold of a value at this moment.
    pub(crate) fn fold(&self, value: &impl Serialize, now: i64) -> Vec<u8> {
        let mut fold = Fold { rules: self, now, out: Vec::with_capacity(512), rule: None, state: "" };
        // The writer has no way to fail.
        let _ = value.serialize(&mut fold);
        fold.out
    }
}

struct Fold<'a> {
    rules: &'a Rules,
    now: i64,
    out: Vec<u8>,
    /// The rule of the field that is being written.
    rule: Option<Rule>,
    /// The variant that was written last: the state of what is being written.
    state: &'static str,
}

impl Fold<'_> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, value: i64) {
        let value = match self.rule {
            Some(Rule::AtMost(most)) => value.min(i64::try_from(most).unwrap_or(i64::MAX)),
            Some(Rule::Age(most) | Rule::AgeIn(most, _)) => {
                (self.now.saturating_sub(value) / self.rules.unit).clamp(-1, most)
            }
            Some(Rule::Ahead) => (value.saturating_sub(self.now) + self.rules.unit - 1) / self.rules.unit,
            _ => value,
        };
        self.text(&value.to_string());
    }

    fn field(&mut self, of: &str, key: &str, value: &(impl Serialize + ?Sized)) {
        let rule = self.rules.of(of, key);
        match rule {
            Some(Rule::Drop) => return,
            Some(Rule::AgeIn(_, states)) if !states.contains(&self.state) => return,
            _ => {}
        }
        let (before, outer) = (self.out.len(), self.rule);
        self.rule = rule.or(outer);
        self.text(key);
        self.text(":");
        let begins = self.out.len();
        let _ = value.serialize(&mut *self);
        self.rule = outer;
        // What says nothing is not there: a box that has been opened is as one that never was.
        if matches!(&self.out[begins..], b"" | b"-" | b"{}" | b"[]" | b"false" | b"\"\"") {
            self.out.truncate(before);
            return;
        }
        if matches!(rule, Some(Rule::Presence)) {
            self.out.truncate(begins);
            self.text("+");
        }
        self.text(",");
    }
}

/// A struct, a list or a map that is being written.
struct Part<'b, 'a> {
    fold: &'b mut Fold<'a>,
    name: &'static str,
    silent: bool,
    close: &'static str,
}

impl<'a> Fold<'a> {
    fn part<'b>(&'b mut self, name: &'static str, open: &str, close: &'static str) -> Part<'b, 'a> {
        let silent = self.rules.nothing.contains(&name);
        if !silent {
            self.text(open);
        }
        Part { fold: self, name, silent, close }
    }
}

impl Part<'_, '_> {
    fn item(&mut self, value: &(impl Serialize + ?Sized)) {
        if !self.silent {
            let _ = value.serialize(&mut *self.fold);
            self.fold.text(",");
        }
    }
    fn done(self) {
        if !self.silent {
            self.fold.text(self.close);
        }
    }
}

type Never = std::fmt::Error;

macro_rules! numbers {
    ($($name:ident: $kind:ty,)*) => {
        $(fn $name(self, value: $kind) -> Result<(), Never> {
            self.number(i64::try_from(value).unwrap_or(i64::MAX));
            Ok(())
        })*
    };
}

impl<'b, 'a> ser::Serializer for &'b mut Fold<'a> {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Part<'b, 'a>;
    type SerializeTuple = Part<'b, 'a>;
    type SerializeTupleStruct = Part<'b, 'a>;
    type SerializeTupleVariant = Part<'b, 'a>;
    type SerializeMap = Part<'b, 'a>;
    type SerializeStruct = Part<'b, 'a>;
    type SerializeStructVariant = Part<'b, 'a>;

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    fn serialize_i64(self, value: i64) -> Result<(), Never> {
        self.number(value);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Never> {
        self.text(if value { "true" } else { "false" });
        Ok(())
    }
    fn serialize_f32(self, value: f32) -> Result<(), Never> {
        self.text(&value.to_string());
        Ok(())
    }
    fn serialize_f64(self, value: f64) -> Result<(), Never> {
        self.text(&value.to_string());
        Ok(())
    }
    fn serialize_char(self, value: char) -> Result<(), Never> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }
    fn serialize_str(self, value: &str) -> Result<(), Never> {
        self.text("\"");
        self.text(value);
        self.text("\"");
        Ok(())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Never> {
        self.out.extend_from_slice(value);
        Ok(())
    }
    fn serialize_none(self) -> Result<(), Never> {
        self.text("-");
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Never> {
        self.text(name);
        Ok(())
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Never> {
        self.state = variant;
        self.text(variant);
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.text(variant);
        self.text("=");
        value.serialize(self)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Part<'b, 'a>, Never> {
        Ok(self.part("", "[", "]"))
    }
    fn serialize_tuple(self, _: usize) -> Result<Part<'b, 'a>, Never> {
        Ok(self.part("", "(", ")"))
    }
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Part<'b, 'a>, Never> {
        Ok(self.part(name, "(", ")"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Part<'b, 'a>, Never> {
        Ok(self.part(variant, "(", ")"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Part<'b, 'a>, Never> {
        Ok(self.part("", "{", "}"))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Part<'b, 'a>, Never> {
        Ok(self.part(name, "{", "}"))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Part<'b, 'a>, Never> {
        self.text(variant);
        Ok(self.part(variant, "{", "}"))
    }
}

macro_rules! items {
    ($($kind:ident $each:ident,)*) => {
        $(impl ser::$kind for Part<'_, '_> {
            type Ok = ();
            type Error = Never;
            fn $each<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
                self.item(value);
                Ok(())
            }
            fn end(self) -> Result<(), Never> {
                self.done();
                Ok(())
            }
        })*
    };
}

items! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! named {
    ($($kind:ident,)*) => {
        $(impl ser::$kind for Part<'_, '_> {
            type Ok = ();
            type Error = Never;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Never> {
                if !self.silent {
                    self.fold.field(self.name, key, value);
                }
                Ok(())
            }
            fn end(self) -> Result<(), Never> {
                self.done();
                Ok(())
            }
        })*
    };
}

named! { SerializeStruct, SerializeStructVariant, }

impl ser::SerializeMap for Part<'_, '_> {
    type Ok = ();
    type Error = Never;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        // A key is a name, whatever the rule of its map.
        let rule = self.fold.rule.take();
        let done = key.serialize(&mut *self.fold);
        self.fold.rule = rule;
        self.fold.text(":");
        done
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.item(value);
        Ok(())
    }
    fn end(self) -> Result<(), Never> {
        self.done();
        Ok(())
    }
}
