//! Just enough of Rust's lexical structure to tell code from comments and literals.

/// The code of a source: comments and the insides of literals are blanks, lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let len = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment_len(rest),
            ['"', ..] => string_len(rest),
            ['r', ..] if !ends_in_word(&code) => raw_string_len(rest).unwrap_or(0),
            ['b', 'r', ..] if !ends_in_word(&code) => raw_string_len(&rest[1..]).map_or(0, |len| len + 1),
            ['\'', '\\', _, tail @ ..] => 4 + tail.iter().position(|c| *c == '\'').unwrap_or(tail.len()),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if len == 0 {
            code.push(rest[0]);
            at += 1;
            continue;
        }
        let end = (at + len).min(characters.len());
        code.extend(characters[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

/// The part before `mod test`, with as many lines as it has in the file.
pub(crate) fn before_tests(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if matches!(line.trim(), "mod test {" | "mod tests {" | "mod test;") {
            break;
        }
        end += line.len();
    }
    &text[..end]
}

/// Line of a byte offset, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Offsets at which `word` stands as a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let after = code[at + word.len()..].chars().next();
        !ends_in_word(&code[..*at]) && !after.is_some_and(is_word)
    })
}

/// The word at the start of `code`.
pub(crate) fn first_word(code: &str) -> &str {
    let code = code.trim_start();
    let code = code.strip_prefix("r#").unwrap_or(code);
    &code[..code.find(|c| !is_word(c)).unwrap_or(code.len())]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(code: &str) -> bool {
    code.chars().next_back().is_some_and(is_word)
}

fn block_comment_len(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at + 1 < rest.len() {
        match rest[at..at + 2] {
            ['/', '*'] => (depth, at) = (depth + 1, at + 2),
            ['*', '/'] if depth == 1 => return at + 2,
            ['*', '/'] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string_len(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_len(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    let open = 1 + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| rest[at] == '"' && rest[at + 1..].iter().take(hashes).all(|c| *c == '#');
    (open + 1..rest.len().saturating_sub(hashes)).find(|at| closes(*at)).map(|at| at + 1 + hashes)
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a // x\nb /* x /* x */ x */ c \"x \\\" x\" d r#\"x \" x\"# e 'x' f '\\'' g<'h> br\"x\" i";
    let found = code(text);
    assert!(!found.contains('x'), "{found}");
    assert_eq!(found.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "f", "g<'h>", "i"]);
    assert_eq!(found.lines().count(), text.lines().count());
}
