//! Tables for people. Columns are as wide as their longest cell and separated by two spaces.

use super::text::cut;

/// The longest cell, in bytes. No path is longer.
const LONGEST: usize = 5000;

/// A table of text.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    numbers_from: usize,
}

impl Table {
    /// An empty table with these column headings.
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { rows: vec![heads.map(str::to_owned).into()], numbers_from: N }
    }

    /// The columns from this one on hold numbers, which are aligned to the right.
    pub(crate) fn numbers_from(mut self, column: usize) -> Self {
        self.numbers_from = column;
        self
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(|cell| cut(cell, LONGEST)).into());
    }

    /// The lines; nothing for a table without rows.
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
            let cell = |(n, (cell, &width)): (usize, (&String, &usize))| {
                if n < self.numbers_from { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            };
            let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["NAME", "WHAT", "CALLS"]).numbers_from(2);
        assert!(table.lines().is_empty());
        table.row(["é", "a\nb", "12"]);
        table.row(["longer", "", "3"]);
        assert_eq!(table.lines(), ["NAME    WHAT  CALLS", "é       a b      12", "longer            3"]);
    }
}
