//! Lines out of a stream, however it is cut.

use super::*;
use crate::testing::Random;

/// All lines and what ended them.
fn read(text: &[u8], mut cut: impl FnMut(usize) -> usize) -> (Vec<Vec<u8>>, Option<End>) {
    let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), text);
    while !rest.is_empty() {
        let (part, more) = rest.split_at(cut(rest.len()));
        lines.push(&Bytes::copy_from_slice(part));
        rest = more;
        loop {
            match lines.next() {
                Ok(Some(line)) => found.push(line.to_vec()),
                Ok(None) => break,
                Err(end) => return (found, Some(end)),
            }
        }
    }
    (found, None)
}

#[test]
fn lines_are_the_same_however_they_arrive() {
    let text = b"one\n\nthree\nfour";
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (lines, end) = read(text, |left| 1 + random.below(left));
        assert_eq!((lines, end.is_none()), (vec![b"one".to_vec(), Vec::new(), b"three".to_vec()], true), "{seed}");
    }
}

#[test]
fn a_line_has_a_limit() {
    for (length, passes) in [(MAX_LINE, true), (MAX_LINE + 1, false), (3 * MAX_LINE, false)] {
        let mut text = vec![b'x'; length];
        text.push(b'\n');
        let (lines, end) = read(&text, |left| left.min(16 * 1024));
        assert_eq!((lines.len(), end.is_none()), (usize::from(passes), passes), "{length}");
    }
}
