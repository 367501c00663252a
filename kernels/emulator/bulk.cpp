// The copy engine: tiles of tensors into shared memory, as cp.async.bulk.tensor brings them.
//
// A tensor map (TensorMapParams) describes the tensor and the tile. What lies outside the tensor
// arrives as zeros, and counts among the bytes all the same. A tile lies in shared memory as rows of
// its innermost axis, packed; with the 128-byte swizzle, chunk j of 16 bytes of a row lies where chunk
// j ^ (address / 128 % 8) would: bits 4 to 6 of the address, exchanged by bits 7 to 9.
//
// Im2col maps are of NHWC tensors. The tile is `pixels` rows of `channels` elements. It starts at a
// base pixel (w, h, n) and goes on along w by the step; past the last base pixel of a row (the last
// pixel plus `upper`) it goes back to the first one (`lower`) of the next row, and likewise from h to
// n. The pixel read is the base pixel plus the offsets, which select the filter's tap.

#include "barriers.h"
#include "hopper.h"

namespace emulator {
namespace {

constexpr unsigned magic = 0x54504D41;

size_t rows_of(const TensorMapParams& map) {
    if (map.im2col) return map.tile[1];
    size_t rows = 1;
    for (unsigned axis = 1; axis < map.rank; ++axis) rows *= map.tile[axis];
    return rows;
}

// Calls take(row, channel, pixel) for each row of the tile, with its coordinates in the tensor.
template <class F> void for_rows(const Flight& flight, F take) {
    const TensorMapParams& map = flight.map;
    long at[5] = {};
    std::copy(flight.coordinates, flight.coordinates + 5, at);
    size_t rows = rows_of(map);
    if (map.im2col) {
        for (size_t row = 0; row < rows; ++row) {
            long pixel[5] = {at[0], at[1] + flight.offsets[0], at[2] + flight.offsets[1], at[3], 0};
            take(row, pixel);
            at[1] += map.steps[0];
            if (at[1] > long(map.sizes[1]) - 1 + map.upper[0]) at[1] = map.lower[0], at[2] += map.steps[1];
            if (at[2] > long(map.sizes[2]) - 1 + map.upper[1]) at[2] = map.lower[1], ++at[3];
        }
        return;
    }
    for (size_t row = 0; row < rows; ++row) {
        long place[5] = {at[0]};
        size_t rest = row;
        for (unsigned axis = 1; axis < map.rank; ++axis) {
            place[axis] = at[axis] + long(rest % map.tile[axis]);
            rest /= map.tile[axis];
        }
        take(row, place);
    }
}

// The part of a row that lies in the tensor: its address, its first element and its length in the tile.
struct Run {
    const char* from;
    size_t first, count;
};

Run run_of(const TensorMapParams& map, const long (&place)[5]) {
    for (unsigned axis = 1; axis < map.rank; ++axis)
        if (place[axis] < 0 || place[axis] >= long(map.sizes[axis])) return {nullptr, 0, 0};
    long first = std::max(place[0], 0L), end = std::min(place[0] + map.tile[0], long(map.sizes[0]));
    if (first >= end) return {nullptr, 0, 0};
    const char* from = reinterpret_cast<const char*>(map.address) + first * map.width;
    for (unsigned axis = 1; axis < map.rank; ++axis) from += place[axis] * long(map.strides[axis - 1]);
    return {from, size_t(first - place[0]), size_t(end - first)};
}

void refuse_impossible(const TensorMapParams& map, const void* shared, unsigned rank, bool im2col, Site site) {
    std::string at = ", at " + text_of(site);
    if (map.magic != magic) fail("a bulk copy by something that is no tensor map" + at);
    if (map.rank != rank || map.im2col != im2col)
        fail("a bulk copy of another rank or mode than its tensor map has" + at);
    if (reinterpret_cast<uintptr_t>(shared) % 128 != 0)
        fail("a bulk copy to an address that is not on a 128-byte boundary" + at);
    if (map.tile[0] * map.width % 16 != 0 || (map.swizzled && map.tile[0] * map.width != 128))
        fail("a bulk copy of rows that do not have the length the swizzle needs" + at);
}

}  // namespace

void land(Flight& flight) {
    const TensorMapParams& map = flight.map;
    size_t row_bytes = size_t(map.tile[0]) * map.width;
    std::vector<char> line(row_bytes);
    for_rows(flight, [&](size_t row, const long (&place)[5]) {
        Run run = run_of(map, place);
        std::fill(line.begin(), line.end(), 0);
        std::memcpy(line.data() + run.first * map.width, run.from ? run.from : line.data(), run.count * map.width);
        char* to = flight.to + row * row_bytes;
        for (size_t chunk = 0; chunk < row_bytes; chunk += 16) {
            auto address = reinterpret_cast<uintptr_t>(to + chunk);
            if (map.swizzled) address ^= (address >> 7 & 7) << 4;
            std::memcpy(reinterpret_cast<char*>(address), &line[chunk], 16);
        }
    });
    flight.landed = true;
}

void bulk_load(void* shared, const TensorMapParams* map, void* word, unsigned rank, const int* coordinates,
               const unsigned short* offsets, Site site) {
    refuse_impossible(*map, shared, rank, offsets != nullptr, site);
    Flight flight{*map, static_cast<char*>(shared), 0, {}, {}, site, false};
    flight.bytes = rows_of(*map) * map->tile[0] * map->width;
    std::copy(coordinates, coordinates + rank, flight.coordinates);
    if (offsets) std::copy(offsets, offsets + 2, flight.offsets);
    check_barrier(word, false, site);
    for_rows(flight, [&](size_t, const long (&place)[5]) {
        Run run = run_of(*map, place);
        if (run.count) bulk_read(run.from, run.count * map->width, site);
    });
    Mbarrier& barrier = mbarrier_of(word, "issues a bulk copy for", site);
    if (!barrier.fenced)
        fail("missing fence: the bulk copy issued at " + text_of(site) + " reports to the mbarrier initialised at " +
             text_of(barrier.site) + ", which no barrier_init_fence made known to the copy engine");
    if (barrier.issued + flight.bytes > barrier.expected)
        fail("byte count: with the bulk copy issued at " + text_of(site) + ", " +
             std::to_string(barrier.issued + flight.bytes) + " bytes are copied where " +
             std::to_string(barrier.expected) + " were announced");
    barrier.issued += flight.bytes;
    bulk_write_begin(shared, flight.bytes, barrier.agent, site);
    barrier.flights.push_back(flight);
    if (launch.late_copies) return;
    land(barrier.flights.back());
    complete_phase(barrier);
}

}  // namespace emulator
