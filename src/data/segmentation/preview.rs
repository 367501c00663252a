//! A picture of a set of scenes: image, class map, part map and material map side by side.

use super::{LabelMap, NOTHING, Scene, SceneSet, UNLABELLED};
use crate::data::preview::Picture;
use crate::{Error, Result};

/// What is drawn where nobody judged, and where nothing was found.
const VOID: [u8; 3] = [0, 0, 0];
const NONE: [u8; 3] = [255, 255, 255];

/// Colours for concepts, told apart by number alone: every one lies far from its neighbours (steps of
/// the golden section around the colour circle, three levels of brightness).
pub fn concept_colour(index: usize) -> [u8; 3] {
    let turn = (index as f64 * 0.618_033_988_749_895).fract() * 6.0;
    let (sector, within) = (turn as usize, turn.fract());
    let level = [1.0, 0.68, 0.84][index % 3];
    let (rise, fall) = (within, 1.0 - within);
    let pure: [f64; 3] = match sector {
        0 => [1.0, rise, 0.0],
        1 => [fall, 1.0, 0.0],
        2 => [0.0, 1.0, rise],
        3 => [0.0, fall, 1.0],
        4 => [rise, 0.0, 1.0],
        _ => [1.0, 0.0, fall],
    };
    pure.map(|p| (level * (40.0 + 200.0 * p)) as u8)
}

/// A label map as a picture: `colour` of every index; black where nobody judged, white where nothing
/// was found.
pub fn colour_map(map: &LabelMap, colour: impl Fn(usize) -> [u8; 3]) -> Vec<u8> {
    let of = |&id: &u16| match id {
        UNLABELLED => VOID,
        NOTHING => NONE,
        id => colour(usize::from(id)),
    };
    map.ids().iter().flat_map(of).collect()
}

/// The layers of a concept map as one: what lies on top where it says something.
fn flatten(layers: &[LabelMap], extent: [usize; 2]) -> LabelMap {
    let mut ids = LabelMap::filled(extent, UNLABELLED).ids().to_vec();
    for layer in layers {
        for (id, &above) in ids.iter_mut().zip(layer.ids()) {
            if above < NOTHING || *id == UNLABELLED {
                *id = above;
            }
        }
    }
    LabelMap::new(extent, ids).expect("the layers have this extent")
}

/// The four pictures of a scene.
fn panels(set: &dyn SceneSet, scene: &Scene) -> [Vec<u8>; 4] {
    let concepts =
        |layers: &[LabelMap]| colour_map(&flatten(layers, scene.extent()), concept_colour);
    [
        scene.rgb.clone(),
        colour_map(&scene.classes, |class| set.classes()[class].colour),
        concepts(&scene.parts),
        concepts(&scene.materials),
    ]
}

/// The first `rows` scenes, one a row: image, classes, parts, materials. Scenes of unlike sizes are
/// aligned at the upper left.
///
/// # Errors
/// No scene to draw, or one that cannot be read.
pub fn grid(set: &dyn SceneSet, rows: usize) -> Result<Picture> {
    const GAP: usize = 4;
    let count = rows.min(set.len());
    if count == 0 {
        return Err(Error::shape("preview", "no scene to draw"));
    }
    let scenes: Vec<Scene> = (0..count).map(|i| set.scene(i)).collect::<Result<_>>()?;
    let widest = scenes
        .iter()
        .map(|scene| scene.extent()[1])
        .max()
        .unwrap_or(0);
    let width = 4 * (widest + GAP) + GAP;
    let height = GAP
        + scenes
            .iter()
            .map(|scene| scene.extent()[0] + GAP)
            .sum::<usize>();
    let mut rgb = vec![255; width * height * 3];
    let mut top = GAP;
    for scene in &scenes {
        let [tall, wide] = scene.extent();
        for (column, panel) in panels(set, scene).iter().enumerate() {
            let left = GAP + column * (widest + GAP);
            for (y, row) in panel.chunks_exact(wide * 3).enumerate() {
                let to = ((top + y) * width + left) * 3;
                rgb[to..to + wide * 3].copy_from_slice(row);
            }
        }
        top += tall + GAP;
    }
    Ok(Picture { width, height, rgb })
}
