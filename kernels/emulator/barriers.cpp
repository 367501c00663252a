// Barriers that are not __syncthreads: mbarriers, which count arrivals and the bytes of bulk copies,
// and named barriers, at which some threads of a block meet.
//
// An mbarrier goes through phases. A phase ends when its arrivals have come and the copies issued
// against it have brought as many bytes as were announced; waiting for parity p means waiting for the
// end of the phase of that parity, and returns at once while the phase after it runs. Copies are
// carried out when issued, or, in the late schedules, when no thread can run before they are.
//
// Stricter than the hardware, where only the outcome would be wrong: bytes must be announced before
// they are issued, and every copy must be waited for before the block ends.

#include "barriers.h"

#include <deque>

#include "hopper.h"

namespace emulator {
namespace {

std::deque<Mbarrier> barriers;

struct Meeting {
    unsigned threads = 0;
    Site site;
    std::vector<unsigned> arrived;
};
Meeting meetings[16];

struct Waiting {
    const Mbarrier* barrier = nullptr;
    unsigned parity = 0;
    unsigned meeting = 0;
};
std::vector<Waiting> waiting;  // of each thread

Mbarrier* find(const void* word) {
    for (Mbarrier& barrier : barriers)
        if (barrier.word == word) return &barrier;
    return nullptr;
}

bool completed(const Mbarrier& barrier, unsigned parity) { return barrier.phase % 2 != parity; }

}  // namespace

void begin_block_of_barriers() {
    barriers.clear();
    for (Meeting& meeting : meetings) meeting = {};
    waiting.assign(launch.threads.size(), {});
}

Mbarrier& mbarrier_of(const void* word, const char* what, Site site) {
    if (Mbarrier* barrier = find(word)) return *barrier;
    fail(name_of(*current) + " " + what + " an mbarrier that was never initialised, at " + text_of(site));
}

void mbarrier_init(void* word, unsigned arrivals, Site site) {
    clocks.turn_on();
    check_barrier(word, true, site);
    if (find(word)) fail(name_of(*current) + " initialises an mbarrier again, at " + text_of(site));
    if (barriers.size() == Clocks::most_barriers || arrivals == 0)
        fail("more than 64 mbarriers, or one for no arrivals, at " + text_of(site));
    Mbarrier barrier{};
    barrier.word = word;
    barrier.site = site;
    barrier.initialiser = current->linear;
    barrier.agent = clocks.first_barrier + unsigned(barriers.size());
    barrier.arrivals = barrier.pending = arrivals;
    barriers.push_back(barrier);
}

void mbarrier_init_fence() {
    for (Mbarrier& barrier : barriers)
        if (barrier.initialiser == current->linear) barrier.fenced = true;
}

void complete_phase(Mbarrier& barrier) {
    if (barrier.pending || barrier.issued != barrier.expected) return;
    for (const Flight& flight : barrier.flights)
        if (!flight.landed) return;
    for (const Flight& flight : barrier.flights) bulk_write_end(flight.to, flight.bytes, clocks.time);
    barrier.released.resize(clocks.agents);
    barrier.gathering.resize(clocks.agents);
    for (unsigned i = 0; i < clocks.agents; ++i)
        barrier.released[i] = std::max(barrier.released[i], barrier.gathering[i]);
    barrier.released[barrier.agent] = clocks.time++;
    barrier.unobserved.insert(barrier.unobserved.end(), barrier.flights.begin(), barrier.flights.end());
    barrier.flights.clear();
    barrier.expected = barrier.issued = 0;
    barrier.pending = barrier.arrivals;
    ++barrier.phase;
    for (size_t i = 0; i < waiting.size(); ++i)
        if (launch.threads[i].state == State::at_mbarrier && waiting[i].barrier == &barrier)
            launch.threads[i].state = State::runnable;
}

void mbarrier_arrive(void* word, unsigned bytes, Site site) {
    check_barrier(word, false, site);
    Mbarrier& barrier = mbarrier_of(word, "arrives at", site);
    if (barrier.pending == 0)
        fail(name_of(*current) + " arrives at " + text_of(site) + " at an mbarrier whose " +
             std::to_string(barrier.arrivals) + " arrivals have all come in this phase");
    barrier.expected += bytes;
    --barrier.pending;
    clocks.release(current->linear, barrier.gathering);
    complete_phase(barrier);
}

void mbarrier_wait(void* word, unsigned parity, Site site) {
    check_barrier(word, false, site);
    Mbarrier& barrier = mbarrier_of(word, "waits at", site);
    while (!completed(barrier, parity)) {
        waiting[current->linear] = {&barrier, parity, 0};
        current->site = site;
        current->state = State::at_mbarrier;
        give_way();
    }
    barrier.unobserved.clear();
    clocks.acquire(current->linear, barrier.released);
}

void named_barrier(unsigned id, unsigned threads, Site site) {
    clocks.turn_on();
    if (id == 0 || id > 15 || threads == 0 || threads % 32 != 0)
        fail("a named barrier has a number from 1 to 15 and whole warps, at " + text_of(site));
    Meeting& meeting = meetings[id];
    if (!meeting.arrived.empty() && meeting.threads != threads)
        fail(name_of(*current) + " comes to named barrier " + std::to_string(id) + " at " + text_of(site) +
             " for " + std::to_string(threads) + " threads, others came for " + std::to_string(meeting.threads));
    meeting.threads = threads;
    meeting.site = site;
    meeting.arrived.push_back(current->linear);
    if (meeting.arrived.size() == threads) {
        clocks.meet(meeting.arrived);
        for (unsigned thread : meeting.arrived) launch.threads[thread].state = State::runnable;
        meeting = {};
        return;
    }
    waiting[current->linear] = {nullptr, 0, id};
    current->site = site;
    current->state = State::at_named_barrier;
    give_way();
}

void proxy_fence() {
    clocks.turn_on();
    clocks.fenced[current->linear] = clocks.time++;
}

bool deliver_bulk_copies() {
    std::vector<Mbarrier*> late;
    for (Mbarrier& barrier : barriers)
        for (const Flight& flight : barrier.flights)
            if (!flight.landed) {
                late.push_back(&barrier);
                break;
            }
    if (late.empty()) return false;
    Mbarrier& barrier = *(launch.order == Order::random    ? late[next_random() % late.size()]
                          : launch.order == Order::reverse ? late.back()
                                                           : late.front());
    for (Flight& flight : barrier.flights)
        if (!flight.landed) land(flight);
    complete_phase(barrier);
    return true;
}

std::string stuck_at_barrier() {
    for (const Thread& thread : launch.threads) {
        const Waiting& here = waiting[thread.linear];
        if (thread.state != State::in_group && thread.state != State::at_named_barrier &&
            thread.state != State::at_mbarrier)
            continue;
        std::string who = "deadlock: " + name_of(thread) + " waits at " + text_of(thread.site);
        if (thread.state == State::in_group)
            return who + " for a matrix product that not all threads of its warpgroup have issued";
        if (thread.state == State::at_named_barrier) {
            const Meeting& meeting = meetings[here.meeting];
            return who + " at named barrier " + std::to_string(here.meeting) + ", to which " +
                   std::to_string(meeting.arrived.size()) + " of " + std::to_string(meeting.threads) +
                   " threads have come";
        }
        const Mbarrier& barrier = *here.barrier;
        return who + " for parity " + std::to_string(here.parity) + " of the mbarrier initialised at " +
               text_of(barrier.site) + ": " + std::to_string(barrier.pending) + " of " +
               std::to_string(barrier.arrivals) + " arrivals are missing, " + std::to_string(barrier.issued) +
               " of " + std::to_string(barrier.expected) + " announced bytes were copied";
    }
    return "";
}

std::string unfinished_copies() {
    for (const Mbarrier& barrier : barriers)
        for (const auto* flights : {&barrier.unobserved, &barrier.flights})
            if (!flights->empty())
                return "the block ended with a bulk copy that nobody waited for: it was issued at " +
                       text_of(flights->front().site);
    return "";
}

}  // namespace emulator
