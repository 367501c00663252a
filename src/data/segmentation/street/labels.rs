//! What can be seen in the generated street: classes, parts of objects, materials.

use crate::data::segmentation::{Class, Part};

/// An enum of labels with the name of each.
macro_rules! labels {
    ($(#[$doc:meta])* $kind:ident { $($label:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum $kind { $($label,)* }

        impl $kind {
            pub(super) const NAMES: &[&str] = &[$($name),*];
        }
    };
}

labels! {
    /// Classes, under Cityscapes' names.
    Thing {
        Road = "road",
        Sidewalk = "sidewalk",
        Building = "building",
        Fence = "fence",
        Pole = "pole",
        TrafficLight = "traffic light",
        TrafficSign = "traffic sign",
        Vegetation = "vegetation",
        Sky = "sky",
        Person = "person",
        Car = "car",
        Truck = "truck",
        Bus = "bus",
        Bicycle = "bicycle",
    }
}

labels! {
    /// Parts, named by their object; the names are those of the street concept list where it has them.
    Piece {
        Cloud = "sky/cloud",
        Crosswalk = "road/crosswalk",
        Wall = "building/wall",
        Window = "building/window",
        Door = "building/door",
        Roof = "building/roof",
        Balcony = "building/balcony",
        Railing = "building/railing",
        ShopWindow = "building/shop window",
        Chimney = "building/chimney",
        Head = "person/head",
        Hair = "person/hair",
        Torso = "person/torso",
        Arm = "person/arm",
        Hand = "person/hand",
        Leg = "person/leg",
        Foot = "person/foot",
        CarWindow = "car/window",
        CarDoor = "car/door",
        CarWheel = "car/wheel",
        CarHeadlight = "car/headlight",
        CarTaillight = "car/taillight",
        CarMirror = "car/mirror",
        CarPlate = "car/license plate",
        CarRoof = "car/roof",
        CarWindshield = "car/windshield",
        CarBumper = "car/bumper",
        TruckWheel = "truck/wheel",
        TruckWindshield = "truck/windshield",
        BusWindow = "bus/window",
        BusDoor = "bus/door",
        BusWheel = "bus/wheel",
        BusHeadlight = "bus/headlight",
        BusMirror = "bus/mirror",
        BusPlate = "bus/license plate",
        BusRoof = "bus/roof",
        BicycleWheel = "bicycle/wheel",
        HandleBar = "bicycle/handle bar",
        Saddle = "bicycle/saddle",
        ChainWheel = "bicycle/chain wheel",
        Trunk = "vegetation/trunk",
        Crown = "vegetation/crown",
    }
}

labels! {
    /// Materials: the street concept list's, and the two it lacks.
    Material {
        Asphalt = "asphalt",
        Brick = "brick",
        Fabric = "fabric",
        Foliage = "foliage",
        Glass = "glass",
        Hair = "hair",
        Metal = "metal",
        Painted = "painted",
        Plastic = "plastic",
        Rubber = "rubber/latex",
        Skin = "skin",
        Stone = "stone",
        Wood = "wood",
    }
}

/// Cityscapes' colours, in the order of [`Thing`].
const COLOURS: [[u8; 3]; 14] = [
    [128, 64, 128],
    [244, 35, 232],
    [70, 70, 70],
    [190, 153, 153],
    [153, 153, 153],
    [250, 170, 30],
    [220, 220, 0],
    [107, 142, 35],
    [70, 130, 180],
    [220, 20, 60],
    [0, 0, 142],
    [0, 0, 70],
    [0, 60, 100],
    [119, 11, 32],
];

pub(super) fn classes() -> Vec<Class> {
    let named = Thing::NAMES.iter().zip(COLOURS);
    named
        .map(|(name, colour)| Class {
            name: name.to_string(),
            colour,
        })
        .collect()
}

pub(super) fn parts() -> Vec<Part> {
    Piece::NAMES
        .iter()
        .map(|name| Part {
            name: name.to_string(),
            parent: Thing::NAMES.iter().position(|class| {
                name.split_once('/')
                    .is_some_and(|(object, _)| object == *class)
            }),
        })
        .collect()
}

pub(super) fn materials() -> Vec<String> {
    Material::NAMES
        .iter()
        .map(|name| name.to_string())
        .collect()
}
