//! Random cases, made from a list of small choices, so that a case can be named, played back and shrunk.

use crate::rng::{Key, Purpose, Stream};

/// Choices of a random case: drawn from a stream, or played back from a list.
///
/// Every choice is a number whose 0 is the simplest: the smallest extent, `false`, the first option. A
/// list of choices names the case it led to. Lowering one of them gives a simpler case, and that is all
/// there is to shrinking.
///
/// ```
/// use whatwhere::ops::Draw;
/// use whatwhere::rng::{Key, Purpose};
/// let case = |draw: &mut Draw| (draw.between(3, 9), draw.flag(), draw.pick(&["a", "b"]));
/// let mut drawn = Draw::random(Key::new(1, Purpose::Check, 0, 0).stream(0));
/// let found = case(&mut drawn);
/// assert_eq!(case(&mut Draw::replay(drawn.choices())), found);
/// assert_eq!(case(&mut Draw::replay(&[])), (3, false, "a"));
/// ```
#[derive(Clone, Debug)]
pub struct Draw {
    source: Source,
    made: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Source {
    Random(Stream),
    Script(Vec<u32>),
}

impl Draw {
    /// Choices drawn from `stream`.
    pub fn random(stream: Stream) -> Self {
        Draw {
            source: Source::Random(stream),
            made: Vec::new(),
        }
    }

    /// These choices, and the simplest ones after them. A choice too large is the largest allowed.
    pub fn replay(choices: &[u32]) -> Self {
        Draw {
            source: Source::Script(choices.to_vec()),
            made: Vec::new(),
        }
    }

    /// The choices made so far.
    pub fn choices(&self) -> &[u32] {
        &self.made
    }

    /// A number from `least` (the simplest) to `most`, both included; `least` where that is no range.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        let range = most.saturating_sub(least).min(u32::MAX as usize - 1) as u32;
        let choice = match &mut self.source {
            Source::Random(stream) => stream.below(range + 1),
            Source::Script(script) => script.get(self.made.len()).map_or(0, |&c| c.min(range)),
        };
        self.made.push(choice);
        least + choice as usize
    }

    /// Yes or no (the simplest).
    pub fn flag(&mut self) -> bool {
        self.between(0, 1) == 1
    }

    /// One of `options`, which must not be empty; the first is the simplest.
    pub fn pick<T: Clone>(&mut self, options: &[T]) -> T {
        options[self.between(0, options.len() - 1)].clone()
    }

    /// A number of channels: small, large enough for the kernels' vector path, aligned or not.
    pub fn channels(&mut self) -> usize {
        self.pick(&[1, 2, 3, 4, 5, 7, 8, 13, 16, 24])
    }

    /// An NHWC map of up to 3 images of up to `side` rows and columns.
    pub fn map(&mut self, side: usize) -> [usize; 4] {
        let [n, h, w] = [3, side, side].map(|most| self.between(1, most));
        [n, h, w, self.channels()]
    }

    /// A key for operations that draw random numbers themselves.
    pub fn key(&mut self) -> Key {
        Key::new(self.between(0, 9999) as u64, Purpose::Check, 0, 0)
    }
}
