//! A guest kernel of a few bytes, so that tests need no downloaded one.

mod drive;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A payload for direct kernel boot on x86_64: an ELF file with a PVH entry point and a few
/// instructions of 32-bit code.
///
/// It needs no firmware, no disk and 16 MiB of memory, runs within a millisecond of `vm.boot`,
/// and works under nested KVM where a Linux guest may hang.
///
/// ```no_run
/// let directory = tempfile::tempdir()?;
/// let kernel = virshle_testkit::TestKernel::power_off().write(directory.path())?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// - Xen's PVH boot protocol: note type 18 (`XEN_ELFNOTE_PHYS32_ENTRY`) holds the entry point,
///   `%ebx` the address of `hvm_start_info`.
/// - cloud-hypervisor's ACPI shutdown register is the byte at I/O port 0x600.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestKernel {
    name: &'static str,
    code: Vec<u8>,
    text: String,
}

/// Where the code is loaded and entered.
const BASE: u32 = 0x10_0000;
/// Where the text lies, from `BASE`.
const TEXT: usize = 0x800;
/// Where the image begins in the file.
const IMAGE: u32 = 0x1000;

/// `cli; 1: hlt; jmp 1b`: the vCPU sleeps, it does not spin.
const HALT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfd];

/// `mov $0x600,%edx; mov $0x34,%al; out %al,(%dx)`: sleep type 5 and the enable bit.
const POWER_OFF: &[u8] = &[0xba, 0x00, 0x06, 0x00, 0x00, 0xb0, 0x34, 0xee];

/// `mov $0x600,%edx; mov $1,%al; out %al,(%dx)`: reset.
const RESET: &[u8] = &[0xba, 0x00, 0x06, 0x00, 0x00, 0xb0, 0x01, 0xee];

/// An empty interrupt table, then an invalid instruction: a triple fault.
const TRIPLE_FAULT: &[u8] = &[
    0xbc, 0x00, 0x00, 0x1f, 0x00, //  mov $0x1f0000,%esp
    0x6a, 0x00, 0x6a, 0x00, //        push $0; push $0
    0x0f, 0x01, 0x1c, 0x24, //        lidt (%esp)
    0x0f, 0x0b, //                    ud2
];

/// `mov $0xd0000000,%eax; jmp *%eax`: where no memory is, no instruction can be read.
const BREAK: &[u8] = &[0xb8, 0x00, 0x00, 0x00, 0xd0, 0xff, 0xe0];

/// `mov $0x5000,%edx; 1: out %al,(%dx); jmp 1b`: a port at which nothing is.
const POKE: &[u8] = &[0xba, 0x00, 0x50, 0x00, 0x00, 0xee, 0xeb, 0xfd];

/// `mov $0x608,%edx; 1: in (%dx),%al; jmp 1b`: a part of the clock of ACPI, which has four bytes and is read
/// whole.
const ASK: &[u8] = &[0xba, 0x08, 0x06, 0x00, 0x00, 0xec, 0xeb, 0xfd];

/// Waits for a byte on the first serial port, writes it back, and starts over.
const ECHO: &[u8] = &[
    0xba, 0xfd, 0x03, 0x00, 0x00, //  1: mov $0x3fd,%edx
    0xec, //                       2: in (%dx),%al
    0xa8, 0x01, //                    test $1,%al
    0x74, 0xfb, //                    jz 2b
    0xba, 0xf8, 0x03, 0x00, 0x00, //  mov $0x3f8,%edx
    0xec, //                          in (%dx),%al
    0xee, //                          out %al,(%dx)
    0xeb, 0xed, //                    jmp 1b
];

/// Writes the text, up to its NUL, to the first serial port.
const PRINT: &[u8] = &[
    0xbe, 0x00, 0x08, 0x10, 0x00, //  mov $BASE+TEXT,%esi
    0xba, 0xf8, 0x03, 0x00, 0x00, //  mov $0x3f8,%edx
    0xac, //                       1: lodsb
    0x84, 0xc0, //                    test %al,%al
    0x74, 0x03, //                    jz 2f
    0xee, //                          out %al,(%dx)
    0xeb, 0xf8, //                    jmp 1b
];

/// Finds cloud-hypervisor's event register (the ACPI region `GDST`) in the DSDT and maps it, and
/// the first 2 MiB, by four-level paging, because it lies at the top of the address space. Leaves
/// its address in `%edi`.
const MAP_EVENTS: &[u8] = &[
    0x8b, 0x73, 0x20, //                                      mov 0x20(%ebx),%esi (the RSDP)
    0x46, //                                               1: inc %esi
    0x81, 0x3e, b'G', b'D', b'S', b'T', //                    cmpl $"GDST",(%esi)
    0x75, 0xf7, //                                            jne 1b
    0x8b, 0x46, 0x06, //                                      mov 6(%esi),%eax
    0x8b, 0x4e, 0x0a, //                                      mov 10(%esi),%ecx
    0x89, 0xc7, //                                            mov %eax,%edi
    0x81, 0xe7, 0xff, 0xff, 0x1f, 0x00, //                    and $0x1fffff,%edi
    0x81, 0xcf, 0x00, 0x00, 0x20, 0x00, //                    or $0x200000,%edi
    0x25, 0x00, 0x00, 0xe0, 0xff, //                          and $0xffe00000,%eax
    0x0d, 0x93, 0x00, 0x00, 0x00, //                          or $0x93,%eax
    0xba, 0x00, 0x00, 0x18, 0x00, //                          mov $0x180000,%edx
    0xc7, 0x02, 0x03, 0x10, 0x18, 0x00, //                    movl $0x181003,(%edx)
    0xc7, 0x82, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x18, 0x00, // movl $0x182003,0x1000(%edx)
    0xc7, 0x82, 0x00, 0x20, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, // movl $0x83,0x2000(%edx)
    0x89, 0x82, 0x08, 0x20, 0x00, 0x00, //                    mov %eax,0x2008(%edx)
    0x89, 0x8a, 0x0c, 0x20, 0x00, 0x00, //                    mov %ecx,0x200c(%edx)
    0x0f, 0x22, 0xda, //                                      mov %edx,%cr3
    0x0f, 0x20, 0xe0, //                                      mov %cr4,%eax
    0x83, 0xc8, 0x20, //                                      or $0x20,%eax (PAE)
    0x0f, 0x22, 0xe0, //                                      mov %eax,%cr4
    0xb9, 0x80, 0x00, 0x00, 0xc0, //                          mov $0xc0000080,%ecx (EFER)
    0x0f, 0x32, //                                            rdmsr
    0x0d, 0x00, 0x01, 0x00, 0x00, //                          or $0x100,%eax (LME)
    0x0f, 0x30, //                                            wrmsr
    0x0f, 0x20, 0xc0, //                                      mov %cr0,%eax
    0x0d, 0x00, 0x00, 0x00, 0x80, //                          or $0x80000000,%eax (PG)
    0x0f, 0x22, 0xc0, //                                      mov %eax,%cr0
    0xeb, 0x00, //                                            jmp 2f; 2:
];

/// Looks at the power button and at the serial port in turn, for ever. `RESET`, `TRIPLE_FAULT`,
/// `POWER_OFF` and `HALT` follow it in this order.
const OBEY: &[u8] = &[
    0xf3, 0x90, //                 1: pause
    0xf6, 0x07, 0x08, //              testb $8,(%edi) (power button)
    0x75, 0x36, //                    jnz power_off
    0xba, 0xfd, 0x03, 0x00, 0x00, //  mov $0x3fd,%edx
    0xec, //                          in (%dx),%al
    0xa8, 0x01, //                    test $1,%al
    0x74, 0xef, //                    jz 1b
    0xba, 0xf8, 0x03, 0x00, 0x00, //  mov $0x3f8,%edx
    0xec, //                          in (%dx),%al
    0xee, //                          out %al,(%dx)
    0x3c, b'P', //                    cmp $'P',%al
    0x74, 0x21, //                    je power_off
    0x3c, b'R', //                    cmp $'R',%al
    0x74, 0x06, //                    je reset
    0x3c, b'T', //                    cmp $'T',%al
    0x74, 0x0a, //                    je triple_fault
    0xeb, 0xda, //                    jmp 1b
];

/// `jmp` to the beginning of `PRINT`, which stands before it.
const PRINT_AGAIN: &[u8] = &[0xeb, 0xec];

impl TestKernel {
    /// Halts at once and for ever, deaf to the power button; takes no host CPU time.
    pub fn halt() -> Self {
        Self::new("halt", &[HALT], "")
    }

    /// Powers the machine off at once, as a guest does (ACPI S5).
    pub fn power_off() -> Self {
        Self::new("power-off", &[POWER_OFF, HALT], "")
    }

    /// Reboots the machine again and again, as fast as it can.
    pub fn reboots() -> Self {
        Self::new("reboots", &[RESET, HALT], "")
    }

    /// Faults thrice at once, which resets the machine, again and again.
    pub fn crashes() -> Self {
        Self::new("crashes", &[TRIPLE_FAULT], "")
    }

    /// Runs where no memory is, at once: KVM gives up, and cloud-hypervisor's vCPU with it.
    pub fn breaks() -> Self {
        Self::new("breaks", &[BREAK], "")
    }

    /// Writes `text` (as far as its first NUL) to the first serial port and halts.
    pub fn prints(text: &str) -> Self {
        Self::new("prints", &[PRINT, HALT], text)
    }

    /// Writes `text` to the first serial port without end, as fast as it can. Its vCPU spins, and
    /// its log grows: end it soon.
    pub fn floods(text: &str) -> Self {
        Self::new("floods", &[PRINT, PRINT_AGAIN], text)
    }

    /// Writes to an I/O port at which nothing is, without end. Its vCPU spins, and so may a log: end it
    /// soon.
    pub fn pokes() -> Self {
        Self::new("pokes", &[POKE], "")
    }

    /// Reads a device in a way that it warns of, without end. Its vCPU spins, and so may a log: end it soon.
    pub fn asks() -> Self {
        Self::new("asks", &[ASK], "")
    }

    /// Brings up every virtio device of the machine, which needs 16 MiB of memory, writes `driven` and a
    /// newline to the first serial port, and halts.
    pub fn drives() -> Self {
        Self::new("drives", &[drive::DRIVE, PRINT, HALT], "driven\n")
    }

    /// Writes `ready` and a newline to the first serial port, then obeys: the power button and
    /// the byte `P` on the serial port power it off, `R` reboots it, `T` makes it fault thrice.
    /// Every byte is echoed before.
    ///
    /// It polls and so keeps a host CPU busy: end it soon.
    pub fn obeys() -> Self {
        let code = [MAP_EVENTS, PRINT, OBEY, RESET, TRIPLE_FAULT, POWER_OFF, HALT];
        Self::new("obeys", &code, "ready\n")
    }

    /// Gives back on the first serial port what comes in there. Its vCPU spins: end it soon.
    pub fn echoes(greeting: &str) -> Self {
        Self::new("echoes", &[PRINT, ECHO], greeting)
    }

    fn new(name: &'static str, code: &[&[u8]], text: &str) -> Self {
        Self { name, code: code.concat(), text: text.to_owned() }
    }

    /// The ELF file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut image = self.code.clone();
        image.resize(TEXT, 0);
        image.extend(self.text.as_bytes());
        image.push(0);
        let size = image.len() as u64;
        let base = u64::from(BASE);

        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        put16(&mut file, &[2, 62]); // an executable, x86_64
        put32(&mut file, &[1]);
        put64(&mut file, &[base, 64, 0]); // entry, program headers, no section headers
        put32(&mut file, &[0]);
        put16(&mut file, &[64, 56, 2, 0, 0, 0]); // sizes; two program headers
        put32(&mut file, &[1, 7]); // PT_LOAD, rwx
        put64(&mut file, &[u64::from(IMAGE), base, base, size, size, 0x1000]);
        put32(&mut file, &[4, 4]); // PT_NOTE, r
        put64(&mut file, &[64 + 2 * 56, 0, 0, 20, 20, 4]);
        put32(&mut file, &[4, 4, 18]); // the note: sizes of name and value, type
        file.extend(b"Xen\0");
        put32(&mut file, &[BASE]);
        file.resize(IMAGE as usize, 0);
        file.extend(image);
        file
    }

    /// Writes the kernel into `directory` and returns its path.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        let path = directory.join(format!("kernel-{}", self.name));
        fs::write(&path, self.to_bytes())?;
        Ok(path)
    }
}

fn put16(file: &mut Vec<u8>, values: &[u16]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put32(file: &mut Vec<u8>, values: &[u32]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put64(file: &mut Vec<u8>, values: &[u64]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_land_on_their_targets() {
        let after = |jump: usize| jump + 2;
        let power_off = OBEY.len() + RESET.len() + TRIPLE_FAULT.len();
        assert_eq!(after(5) + 0x36, power_off);
        assert_eq!(after(26) + 0x21, power_off);
        assert_eq!(after(30) + 0x06, OBEY.len());
        assert_eq!(after(34) + 0x0a, OBEY.len() + RESET.len());
        assert_eq!(OBEY.len(), after(36));
    }

    #[test]
    fn the_image_is_where_the_program_header_points() {
        let file = TestKernel::prints("hello").to_bytes();
        assert_eq!(&file[IMAGE as usize..][..5], &PRINT[..5]);
        assert_eq!(&file[IMAGE as usize + TEXT..], b"hello\0");
    }
}
