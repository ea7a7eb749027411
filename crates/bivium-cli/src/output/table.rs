//! Tables for people: columns as wide as they need to be, two blanks apart.

use super::text::on_one_line;

/// A table of text.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these column heads.
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned).into()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(on_one_line).into());
    }

    /// The lines; nothing for a table without rows. Cells that look like numbers stand on the right.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.rows.len() < 2 {
            return Vec::new();
        }
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| {
                if cell.starts_with(|c: char| c.is_ascii_digit()) && cell.ends_with(is_number_end) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

fn is_number_end(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '%' | 's')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["NAME", "CALLS", "WHAT"]);
        assert!(table.lines().is_empty());
        table.row(["é", "12", "a\nb"]);
        table.row(["longer", "3", ""]);
        assert_eq!(table.lines(), ["NAME    CALLS  WHAT", "é          12  a b", "longer      3"]);
    }
}
