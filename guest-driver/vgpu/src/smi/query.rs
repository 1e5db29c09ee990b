//! `--query-gpu`: single properties as CSV.

use std::str::FromStr;

use anyhow::{Context, Result};

use super::{Gpu, Report};

const MIB: u64 = 1 << 20;

/// How the CSV looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    no_header: bool,
    no_units: bool,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        if parts.next() != Some("csv") {
            return Err("the format must start with csv".into());
        }
        let mut format = Format::default();
        for part in parts {
            match part {
                "noheader" => format.no_header = true,
                "nounits" => format.no_units = true,
                other => return Err(format!("unknown format option '{other}': csv[,noheader][,nounits]")),
            }
        }
        Ok(format)
    }
}

/// A property: its name, its unit, what it is, and its value.
pub struct Field {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    value: fn(&Report, &Gpu) -> String,
}

const fn field(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    value: fn(&Report, &Gpu) -> String,
) -> Field {
    Field { name, unit, help, value }
}

/// A figure that may not be known, as `nvidia-smi` writes it.
fn figure(value: Option<u32>) -> String {
    value.map_or("[N/A]".into(), |value| value.to_string())
}

static FIELDS: &[Field] = &[
    field("index", "", "number of the GPU", |_, gpu| gpu.index.to_string()),
    field("count", "", "number of GPUs", |report, _| report.gpus.len().to_string()),
    field("name", "", "name of the GPU", |_, gpu| gpu.name.clone()),
    field("uuid", "", "identity of the GPU", |_, gpu| gpu.uuid.clone()),
    field("pci.bus_id", "", "PCI address", |_, gpu| gpu.location.clone()),
    field("driver_version", "", "release of the NVIDIA driver that the libraries follow", |report, _| {
        report.driver_version.clone()
    }),
    field("cuda_version", "", "CUDA version of the driver", |report, _| report.cuda_version.clone()),
    field("compute_cap", "", "compute capability", |_, gpu| gpu.compute_capability.clone()),
    field("memory.total", "MiB", "GPU memory", |_, gpu| (gpu.memory_total / MIB).to_string()),
    field("memory.used", "MiB", "GPU memory in use", |_, gpu| (gpu.memory_used / MIB).to_string()),
    field("memory.free", "MiB", "GPU memory not in use", |_, gpu| {
        (gpu.memory_total.saturating_sub(gpu.memory_used) / MIB).to_string()
    }),
    field("utilization.gpu", "%", "busy time over the last second", |_, gpu| figure(gpu.utilization)),
    field("utilization.memory", "%", "busy time of the memory", |_, gpu| figure(gpu.memory_utilization)),
    field("temperature.gpu", "", "degrees Celsius", |_, gpu| figure(gpu.temperature)),
    field("power.draw", "W", "what the GPU draws", |_, gpu| {
        gpu.power.map_or("[N/A]".into(), |milliwatts| format!("{:.2}", f64::from(milliwatts) / 1000.0))
    }),
    field("clocks.sm", "MHz", "speed of the multiprocessors", |_, gpu| figure(gpu.clock)),
    field("clocks.mem", "MHz", "speed of the memory", |_, gpu| figure(gpu.memory_clock)),
];

impl Field {
    /// The property of that name.
    pub fn find(name: &str) -> Result<&'static Field> {
        FIELDS
            .iter()
            .find(|field| field.name == name.trim())
            .with_context(|| format!("unknown property '{name}'; see: vgpu smi --query-gpu=help --format=csv"))
    }
}

/// Lists the properties.
pub fn help() {
    for field in FIELDS {
        println!("{:<18} {}", field.name, field.help);
    }
}

/// The properties as CSV, in the order asked for, a line for each GPU.
pub fn csv(report: &Report, fields: &[&Field], format: Format) -> String {
    let with_unit = |field: &Field, text: String, open: &str, close: &str| match field.unit {
        unit if unit.is_empty() || format.no_units => text,
        unit => format!("{text} {open}{unit}{close}"),
    };
    let line = |values: Vec<String>| values.join(", ") + "\n";
    let header = || line(fields.iter().map(|field| with_unit(field, field.name.to_string(), "[", "]")).collect());
    let values =
        |gpu: &Gpu| line(fields.iter().map(|field| with_unit(field, (field.value)(report, gpu), "", "")).collect());
    let header = if format.no_header { String::new() } else { header() };
    report.gpus.iter().fold(header, |lines, gpu| lines + &values(gpu))
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    fn query(names: &[&str], format: &str) -> String {
        let fields: Vec<_> = names.iter().map(|name| Field::find(name).unwrap()).collect();
        csv(&report(), &fields, format.parse().unwrap())
    }

    #[test]
    fn csv_has_header_and_units_unless_told_otherwise() {
        let names = ["name", "memory.total", "utilization.gpu"];
        assert_eq!(
            query(&names, "csv"),
            "name, memory.total [MiB], utilization.gpu [%]\nTest, 4096 MiB, 7 %\nMore, 4096 MiB, 7 %\n"
        );
        assert_eq!(query(&names, "csv,noheader,nounits"), "Test, 4096, 7\nMore, 4096, 7\n");
        assert_eq!(query(&["index", "memory.used"], "csv,noheader"), "0, 300 MiB\n1, 300 MiB\n");
        assert_eq!(query(&["count", "memory.free"], "csv,noheader"), "2, 3796 MiB\n2, 3796 MiB\n");
    }

    #[test]
    fn unknown_names_and_formats_are_errors() {
        assert!(Field::find("fan.speed").is_err());
        assert!("json".parse::<Format>().is_err());
        assert!("csv,pretty".parse::<Format>().is_err());
    }
}
