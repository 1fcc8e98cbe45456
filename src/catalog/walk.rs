//! A walk from the newest files back, which costs what it yields.

use std::ops::Bound;

use super::{
    CatalogError, FileRecord, Reader, Select,
    rows::{self, FILES},
};

impl Reader {
    /// The files of `select`, the last ones first. Read as they are asked for.
    pub fn newest_first(
        &self,
        select: &Select,
    ) -> Result<impl Iterator<Item = Result<FileRecord, CatalogError>> + use<>, CatalogError> {
        let (from, to) = select.keys();
        let from = Bound::Included(from.as_slice());
        let rows = self.rows(FILES, from, Bound::Excluded(to.as_slice()))?;
        let select = select.clone();
        Ok(rows
            .rev()
            .map(|row| {
                let (key, value) = row?;
                rows::parse_file(key.value(), value.value())
            })
            .filter(move |record| record.as_ref().map_or(true, |record| select.holds(record))))
    }
}
