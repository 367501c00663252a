// An mbarrier as the emulator keeps it, beside the eight bytes in shared memory that name it.
#pragma once

#include "../include/params/tensor_map.h"
#include "runtime.h"

namespace emulator {

// A bulk copy under way: what the copy engine was told.
struct Flight {
    TensorMapParams map;
    char* to;
    size_t bytes;
    int coordinates[5];
    unsigned short offsets[2];
    Site site;
    bool landed;
};

struct Mbarrier {
    const void* word;
    Site site;              // of its initialisation
    unsigned initialiser;   // thread
    bool fenced;            // open to the copy engine
    unsigned agent;         // of the vector clocks: what its copies write
    unsigned arrivals;      // of a phase
    unsigned pending;       // arrivals that this phase still waits for
    unsigned phase = 0;     // phases completed
    uint64_t expected = 0, issued = 0;  // bytes of this phase: announced, and asked of the copy engine
    std::vector<uint32_t> gathering, released;  // what arriving threads know; the same for waiting ones
    std::vector<Flight> flights;     // copies of this phase
    std::vector<Flight> unobserved;  // copies of completed phases that nobody has waited for
};

// The barrier of that name; fails where there is none.
Mbarrier& mbarrier_of(const void* word, const char* what, Site site);
void land(Flight& flight);  // bulk.cpp: carries the copy out
// Ends the phase if all arrived and all bytes are there.
void complete_phase(Mbarrier& barrier);

}  // namespace emulator
