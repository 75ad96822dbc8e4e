//! Kept signals as a Parquet file: one row for each point, what is unknown is null.

use std::sync::Arc;

use fm_api::signals::{SignalList, SignalPoint};
use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::metrics::NUMBERS;

/// Rows that are written together: a reader holds one such group in memory.
const GROUP: usize = 100_000;

/// What a column holds of a point.
enum Column {
    Time(fn(&SignalPoint) -> i64),
    Text(fn(&SignalPoint) -> Option<&str>),
    Whole(fn(&SignalPoint) -> i64),
    /// The place in [`NUMBERS`].
    Number(usize),
    /// The same in each row.
    Step,
}

fn columns() -> Vec<(&'static str, Column)> {
    let mut columns: Vec<(&'static str, Column)> = vec![
        ("at", Column::Time(|point| point.at.as_millisecond())),
        ("namespace", Column::Text(|point| Some(&point.namespace))),
        ("release", Column::Text(|point| Some(&point.name))),
        ("revision", Column::Text(|point| Some(&point.revision))),
        ("endpoint", Column::Text(|point| point.endpoint.as_deref())),
        ("step_seconds", Column::Step),
        (
            "requests",
            Column::Whole(|point| count(point.signals.requests)),
        ),
        ("bad", Column::Whole(|point| count(point.signals.bad))),
    ];
    let numbers = NUMBERS.iter().enumerate();
    columns.extend(numbers.map(|(place, (name, _))| (*name, Column::Number(place))));
    columns
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Column {
    fn schema(&self, name: &str) -> Result<Type, ParquetError> {
        let (physical, converted) = match self {
            Column::Time(_) => (Physical::INT64, ConvertedType::TIMESTAMP_MILLIS),
            Column::Text(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
            Column::Whole(_) | Column::Step => (Physical::INT64, ConvertedType::NONE),
            Column::Number(_) => (Physical::DOUBLE, ConvertedType::NONE),
        };
        let repetition = match self {
            Column::Text(_) | Column::Number(_) => Repetition::OPTIONAL,
            Column::Time(_) | Column::Whole(_) | Column::Step => Repetition::REQUIRED,
        };
        Type::primitive_type_builder(name, physical)
            .with_converted_type(converted)
            .with_repetition(repetition)
            .build()
    }
}

/// The whole file.
pub(super) fn file(list: &SignalList) -> Result<Vec<u8>, ParquetError> {
    let columns = columns();
    let fields = columns
        .iter()
        .map(|(name, column)| column.schema(name).map(Arc::new));
    let schema = Type::group_type_builder("signals")
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_created_by(concat!("frctl ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, Arc::new(schema), Arc::new(properties))?;
    for points in list.items.chunks(GROUP) {
        let mut group = writer.next_row_group()?;
        for (_, column) in &columns {
            let Some(mut to) = group.next_column()? else {
                break;
            };
            match column {
                Column::Time(of) | Column::Whole(of) => {
                    let values: Vec<i64> = points.iter().map(of).collect();
                    to.typed::<Int64Type>().write_batch(&values, None, None)?;
                }
                Column::Step => {
                    let values = vec![list.step_seconds; points.len()];
                    to.typed::<Int64Type>().write_batch(&values, None, None)?;
                }
                Column::Text(of) => {
                    let (values, there) =
                        known(points.iter().map(|point| of(point).map(ByteArray::from)));
                    to.typed::<ByteArrayType>()
                        .write_batch(&values, Some(&there), None)?;
                }
                Column::Number(place) => {
                    let of = NUMBERS[*place].1;
                    let (values, there) = known(points.iter().map(|point| of(&point.signals)));
                    to.typed::<DoubleType>()
                        .write_batch(&values, Some(&there), None)?;
                }
            }
            to.close()?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(out)
}

/// What is known, and for each row whether it is.
fn known<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut known, mut there) = (Vec::new(), Vec::new());
    for value in values {
        there.push(i16::from(value.is_some()));
        known.extend(value);
    }
    (known, there)
}

#[cfg(test)]
mod tests {
    use fm_api::signals::{Golden, Share};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    #[test]
    fn what_is_written_reads_back_and_what_is_unknown_is_null() {
        let point = |endpoint: Option<&str>, requests| SignalPoint {
            at: "2026-11-22T18:45:10Z".parse().unwrap(),
            namespace: "default".into(),
            name: "shöp".into(),
            revision: "r1".into(),
            endpoint: endpoint.map(str::to_owned),
            signals: Golden {
                requests,
                bad: 1,
                rps: 0.5,
                p99_ms: endpoint.map(|_| 20.25),
                memory: Some(Share {
                    mean: 0.25,
                    max: 0.5,
                }),
                ..Golden::default()
            },
        };
        let list = SignalList {
            step_seconds: 10,
            items: vec![point(None, 5), point(Some("task1"), u64::MAX)],
        };
        let bytes = bytes::Bytes::from(file(&list).unwrap());
        let reader = SerializedFileReader::new(bytes).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let get = |row: usize, name: &str| -> Field {
            let mut columns = rows[row].get_column_iter();
            columns.find(|(known, _)| *known == name).unwrap().1.clone()
        };
        assert_eq!(get(0, "at"), Field::TimestampMillis(1_795_373_110_000));
        assert_eq!(get(0, "release"), Field::Str("shöp".into()));
        assert_eq!(get(0, "endpoint"), Field::Null);
        assert_eq!(get(1, "endpoint"), Field::Str("task1".into()));
        assert_eq!(get(0, "requests"), Field::Long(5));
        assert_eq!(get(1, "requests"), Field::Long(i64::MAX));
        assert_eq!(
            (get(0, "p99_ms"), get(1, "p99_ms")),
            (Field::Null, Field::Double(20.25))
        );
        assert_eq!(get(1, "memory_max"), Field::Double(0.5));
        assert_eq!(get(0, "cpu_mean"), Field::Null);
        assert_eq!(get(0, "step_seconds"), Field::Long(10));
        let empty = SignalList {
            step_seconds: 1,
            items: Vec::new(),
        };
        let reader = SerializedFileReader::new(bytes::Bytes::from(file(&empty).unwrap())).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 0);
    }
}
