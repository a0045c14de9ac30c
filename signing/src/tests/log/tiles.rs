//! Paths, widths and bundles.

use crate::log::{LogError, TilePath, bundle, read_bundle, read_tile, tile_paths};

#[test]
fn paths_go_round_and_have_one_spelling_only() {
    let tile = |level, index, width| TilePath::Tile { level, index, width };
    for (path, text) in [
        (tile(0, 0, 256), "tile/0/000"),
        // The example of the specification.
        (tile(2, 1_234_067, 256), "tile/2/x001/x234/067"),
        (tile(0, 999, 1), "tile/0/999.p/1"),
        (tile(7, 1_000, 255), "tile/7/x001/000.p/255"),
        (TilePath::Entries { index: 0, width: 12 }, "tile/entries/000.p/12"),
        (TilePath::Entries { index: 1_234_067, width: 256 }, "tile/entries/x001/x234/067"),
    ] {
        assert_eq!((path.to_string().as_str(), text.parse::<TilePath>()), (text, Ok(path)));
    }
    for bad in [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/8/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/data/000",
        "tile/entries/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/../000",
        "tile/0/x099/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(matches!(bad.parse::<TilePath>(), Err(LogError::Path(_))), "{bad}");
    }
}

#[test]
fn a_size_has_the_tiles_that_the_specification_counts() {
    // "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112, one full
    // level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1".
    let widths = |size: u64, wanted: u8| -> Vec<u16> {
        let tiles = tile_paths(size).filter_map(|path| match path {
            TilePath::Tile { level, width, .. } if level == wanted => Some(width),
            _ => None,
        });
        tiles.collect()
    };
    assert_eq!(widths(70_000, 0), [vec![256; 273], vec![112]].concat());
    assert_eq!((widths(70_000, 1), widths(70_000, 2), widths(70_000, 3)), (vec![256, 17], vec![1], vec![]));
    // "a tree of size 256 will be represented by a full level 0 tile and a partial level 1 tile of width 1".
    assert_eq!((widths(256, 0), widths(256, 1)), (vec![256], vec![1]));
    assert_eq!(tile_paths(0).count(), 0);
    for path in tile_paths(70_000) {
        assert!(path.is_within(70_000), "{path}");
    }
    assert!(!TilePath::Tile { level: 0, index: 273, width: 113 }.is_within(70_000));
    assert!(!TilePath::Entries { index: u64::MAX, width: 1 }.is_within(u64::MAX));
}

#[test]
fn bundles_are_read_as_written_and_nothing_else() {
    let entries: [&[u8]; 3] = [b"one", b"", &[7; 65_535]];
    let bytes = bundle(entries).unwrap();
    assert_eq!(read_bundle(&bytes, 3).unwrap(), entries);
    for (bytes, width) in [(&bytes[..], 2), (&bytes[..], 4), (&bytes[..bytes.len() - 1], 3), (&bytes[..1], 0)] {
        assert!(matches!(read_bundle(bytes, width), Err(LogError::Bundle(_))));
    }
    assert_eq!(bundle([&[0_u8; 65_536][..]]), Err(LogError::Entry(65_536)));
    assert_eq!(read_tile(&[1; 64], 2).unwrap().len(), 2);
    assert!(matches!(read_tile(&[1; 63], 2), Err(LogError::Tile { .. })));
    assert!(matches!(read_tile(&[1; 64], 1), Err(LogError::Tile { .. })));
}
