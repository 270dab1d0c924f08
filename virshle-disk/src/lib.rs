//! Virtual machine disks: reflink or sparse clones of images, growing, empty disks, qcow2 overlays.
