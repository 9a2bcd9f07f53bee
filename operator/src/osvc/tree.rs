//! Lays out a tree of objects as text of a given width. Pure functions.

use console::{Style, measure_text_width};

use super::text::{cut, pad, printable, push_line, wrap};

/// Between columns.
const GAP: &str = "  ";
/// With fewer columns, the details follow below each node.
const MIN_DETAIL_COLUMNS: usize = 30;

/// How the state of a node is to be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As desired.
    Good,
    /// In progress, or to be noticed.
    Waiting,
    /// Failed.
    Bad,
    /// No judgement.
    #[default]
    Neutral,
}

/// A node of the tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    /// Kind and name.
    pub name: String,
    /// The state in one or two words.
    pub state: String,
    /// The judgement of the state.
    pub mood: Mood,
    /// How long it has existed or has been in this state.
    pub age: String,
    /// A sentence.
    pub detail: String,
    /// The nodes below.
    pub children: Vec<Node>,
}

/// Formats trees. No line is wider than `width` columns; without a width, lines are not wrapped.
pub(crate) fn format(roots: &[Node], width: Option<usize>, color: bool) -> String {
    let mut rows = Vec::new();
    for root in roots {
        collect(root, "", "", &mut rows);
    }
    let columns = |text: fn(&Row<'_>) -> usize| rows.iter().map(text).max().unwrap_or_default();
    let layout = Layout {
        name: columns(|row| measure_text_width(&row.first) + measure_text_width(&row.name)),
        state: columns(|row| measure_text_width(&row.state)),
        age: columns(|row| measure_text_width(&row.node.age)),
        width: width.unwrap_or(usize::MAX),
        color,
    };
    let mut text = String::new();
    for row in &rows {
        layout.write(row, &mut text);
    }
    text
}

/// A node with the lines that connect it to its parent.
struct Row<'a> {
    node: &'a Node,
    name: String,
    state: String,
    detail: String,
    /// Before the name.
    first: String,
    /// At the start of further lines of this node.
    next: String,
}

fn collect<'a>(node: &'a Node, first: &str, next: &str, rows: &mut Vec<Row<'a>>) {
    let below = if node.children.is_empty() {
        "  "
    } else {
        "│ "
    };
    rows.push(Row {
        node,
        name: printable(&node.name),
        state: printable(&node.state),
        detail: printable(&node.detail),
        first: first.to_owned(),
        next: format!("{next}{below}"),
    });
    let last = node.children.len().saturating_sub(1);
    for (index, child) in node.children.iter().enumerate() {
        let (branch, line) = if index == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        collect(
            child,
            &format!("{next}{branch}"),
            &format!("{next}{line}"),
            rows,
        );
    }
}

/// The widths of the columns.
struct Layout {
    name: usize,
    state: usize,
    age: usize,
    width: usize,
    color: bool,
}

impl Layout {
    fn write(&self, row: &Row<'_>, text: &mut String) {
        let before_detail = self.name + self.state + self.age + 3 * GAP.len();
        if self.width < before_detail.saturating_add(MIN_DETAIL_COLUMNS) {
            return self.write_narrow(row, text);
        }
        let name_columns = self.name.saturating_sub(measure_text_width(&row.first));
        let mut line = format!(
            "{}{}{GAP}",
            self.lines(&row.first),
            pad(&row.name, name_columns)
        );
        line.push_str(&self.state(row, &pad(&row.state, self.state)));
        line.push_str(GAP);
        line.push_str(&pad(&row.node.age, self.age));
        line.push_str(GAP);
        let mut details = wrap(&row.detail, self.width.saturating_sub(before_detail)).into_iter();
        line.push_str(&details.next().unwrap_or_default());
        push_line(text, &line);
        let indent = before_detail.saturating_sub(measure_text_width(&row.next));
        for detail in details {
            push_line(
                text,
                &format!("{}{}{detail}", self.lines(&row.next), " ".repeat(indent)),
            );
        }
    }

    /// Writes the detail below the name, and the state too if it does not fit beside the name.
    fn write_narrow(&self, row: &Row<'_>, text: &mut String) {
        let first_columns = self.width.saturating_sub(measure_text_width(&row.first));
        let next_columns = self.width.saturating_sub(measure_text_width(&row.next));
        let names = wrap(&row.name, first_columns);
        let last = names.len().saturating_sub(1);
        let fits = names.last().is_some_and(|name| {
            let columns = measure_text_width(name) + GAP.len() + measure_text_width(&row.state);
            columns <= first_columns.min(next_columns) && last == 0
        });
        for (index, name) in names.iter().enumerate() {
            let prefix = if index == 0 { &row.first } else { &row.next };
            let mut line = self.lines(prefix);
            line.push_str(&cut(
                name,
                if index == 0 {
                    first_columns
                } else {
                    next_columns
                },
            ));
            if fits {
                line = format!("{line}{GAP}{}", self.state(row, &row.state));
            }
            push_line(text, &line);
        }
        if !fits {
            for part in wrap(&row.state, next_columns) {
                push_line(
                    text,
                    &format!("{}{}", self.lines(&row.next), self.state(row, &part)),
                );
            }
        }
        for part in wrap(&row.detail, next_columns)
            .iter()
            .filter(|part| !part.is_empty())
        {
            push_line(text, &format!("{}{part}", self.lines(&row.next)));
        }
    }

    fn lines(&self, prefix: &str) -> String {
        let is_styled = self.color && !prefix.trim().is_empty();
        let styled = Style::new().dim().apply_to(prefix);
        styled.force_styling(is_styled).to_string()
    }

    fn state(&self, row: &Row<'_>, text: &str) -> String {
        let style = match row.node.mood {
            Mood::Good => Style::new().green(),
            Mood::Waiting => Style::new().yellow(),
            Mood::Bad => Style::new().red().bold(),
            Mood::Neutral => Style::new(),
        };
        let is_styled = self.color && row.node.mood != Mood::Neutral;
        style.apply_to(text).force_styling(is_styled).to_string()
    }
}

#[cfg(test)]
mod tests;
