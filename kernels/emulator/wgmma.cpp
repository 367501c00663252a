// Matrix products of warpgroups (wgmma): 64 rows, n columns, 32 bytes of the common axis.
//
// D = A·B + D, with A 64 x k and B k x n in shared memory, D in registers of 128 threads, f32. All
// threads of the warpgroup issue the product; it runs beside them, from the last one's call (in the
// late schedules: from the first wait that needs it) to each thread's wait. Until its wait a thread may
// not touch its part of D: it is NaN, and the emulator reports the access. A fence must come before
// the first product after a commit.
//
// A matrix descriptor names an operand: start address / 16 in bits 0 to 13, leading byte offset / 16
// in bits 16 to 29, stride byte offset / 16 in bits 32 to 45, 1 in bits 62 and 63 for the 128-byte
// swizzle, the only layout known here. In this layout the unit is an atom of 8 rows of 128 bytes, on a
// 1 KiB boundary, whose chunks are exchanged as bulk copies do it (bulk.cpp):
//   K-major (rows are rows of A or columns of B, bytes run along k): row i is row i % 8 of the atom
//     i / 8, atoms are a stride offset apart. The start may lie 32, 64 or 96 bytes into the first row.
//   MN-major (transposed: rows are steps of k, bytes run along rows of A or columns of B; 16-bit
//     elements only): step k is row k % 8 of the atom k / 8, atoms are a stride offset apart along k,
//     and a leading offset from one 64 elements to the next.

#include <deque>

#include "hopper.h"
#include "runtime.h"

namespace emulator {

size_t registers_in_flight = 0;

namespace {

constexpr unsigned group_threads = 128, rows = 64;

struct Accumulator {
    std::vector<float> values;  // [64][n]
    unsigned n;
    float* registers[group_threads] = {};
    unsigned owners = 0;  // threads that have not got it back
};

struct Product {
    MatrixKind kind;
    uint64_t a, b;
    bool accumulate;
    Site site;
    Accumulator* accumulator;
    unsigned issued = 0;  // by how many threads
    uint32_t time = 0;
    bool done = false;
    std::vector<uint32_t> view;  // what all its threads know
};

struct Group {
    std::deque<Product> products;  // of the block, in order
    std::deque<Accumulator> accumulators;
};

struct Held {
    Accumulator* accumulator;
    size_t last;  // product that uses it
};

struct Member {
    size_t issued = 0, retired = 0;
    std::vector<size_t> commits;  // products issued up to each commit that is not waited for
    std::vector<Held> held;
    bool fenced = false;
};

std::vector<Group> groups;
std::vector<Member> members;

Group& group_of(const Thread& thread) { return groups[thread.linear / group_threads]; }

float element(const char* at, MatrixKind kind) {
    uint32_t word = 0;
    std::memcpy(&word, at, kind.element == MatrixKind::tf32 ? 4 : 2);
    switch (kind.element) {
    case MatrixKind::bf16: return __uint_as_float(word << 16);
    case MatrixKind::f16: return __half2float(__ushort_as_half(uint16_t(word)));
    default: return __uint_as_float(word & ~0x1FFFu);  // the low bits of an f32 are passed over
    }
}

unsigned depth_of(MatrixKind kind) { return kind.element == MatrixKind::tf32 ? 8 : 16; }

// Calls take(i, first k or first i, address) for each 16-byte chunk of an operand of `count` rows.
template <class F> void for_chunks(uint64_t descriptor, unsigned count, bool transposed, F take) {
    auto base = reinterpret_cast<uintptr_t>(dynamic_shared_memory());
    size_t start = (descriptor & 0x3FFF) << 4, leading = (descriptor >> 16 & 0x3FFF) << 4,
           stride = (descriptor >> 32 & 0x3FFF) << 4;
    auto swizzled = [&](size_t offset) {
        uintptr_t address = base + offset;
        return reinterpret_cast<const char*>(address ^ (address >> 7 & 7) << 4);
    };
    if (!transposed) {
        for (unsigned i = 0; i < count; ++i)
            for (unsigned chunk = 0; chunk < 2; ++chunk)
                take(i, chunk, swizzled(start + i / 8 * stride + i % 8 * 128 + chunk * 16));
        return;
    }
    for (unsigned k = 0; k < 16; ++k)
        for (unsigned chunk = 0; chunk < count / 8; ++chunk)
            take(k, chunk, swizzled(start + k / 8 * stride + k % 8 * 128 + chunk / 8 * leading + chunk % 8 * 16));
}

// The operand as [count][k], or [k][count] with `columns`.
std::vector<float> load(uint64_t descriptor, unsigned count, bool transposed, MatrixKind kind, bool columns) {
    unsigned depth = depth_of(kind), width = 32 / depth, per_chunk = 16 / width;
    std::vector<float> all(size_t(count) * depth);
    for_chunks(descriptor, count, transposed, [&](unsigned line, unsigned chunk, const char* address) {
        for (unsigned e = 0; e < per_chunk; ++e) {
            unsigned along = chunk * per_chunk + e;
            unsigned i = transposed ? along : line, k = transposed ? line : along;
            all[columns ? size_t(k) * count + i : size_t(i) * depth + k] = element(address + e * width, kind);
        }
    });
    return all;
}

__attribute__((optimize("O3"))) void multiply(const float* a, const float* b, float* d, unsigned n, unsigned depth) {
    for (unsigned i = 0; i < rows; ++i)
        for (unsigned k = 0; k < depth; ++k) {
            float factor = a[i * depth + k];
            for (unsigned j = 0; j < n; ++j) d[i * n + j] += factor * b[k * n + j];
        }
}

void perform(Product& product) {
    if (product.done) return;
    product.done = true;
    MatrixKind kind = product.kind;
    std::vector<float>& d = product.accumulator->values;
    if (!product.accumulate) std::fill(d.begin(), d.end(), 0.0f);
    std::vector<float> a = load(product.a, rows, kind.a_transposed, kind, false);
    std::vector<float> b = load(product.b, kind.n, kind.b_transposed, kind, true);
    multiply(a.data(), b.data(), d.data(), kind.n, depth_of(kind));
}

// Where register r of a thread lies in D.
size_t place_in(unsigned n, unsigned thread, unsigned r) {
    unsigned row = thread / 32 * 16 + thread % 32 / 4 + r / 2 % 2 * 8;
    unsigned column = r / 4 * 8 + thread % 4 * 2 + r % 2;
    return size_t(row) * n + column;
}

void check_operand(const Product& product, uint64_t descriptor, unsigned count, bool transposed) {
    unsigned agent = clocks.group_agent(current->linear / group_threads);
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0)
        fail("a matrix descriptor without the 128-byte swizzle, or with a base offset, at " + text_of(product.site));
    for_chunks(descriptor, count, transposed, [&](unsigned, unsigned, const char* address) {
        matrix_read(address, 16, agent, product.view.data(), product.site);
    });
}

// The accumulator this thread's registers are part of, new or still in flight.
Accumulator* take_accumulator(Group& group, Member& member, unsigned n, float* registers, Product* product) {
    unsigned me = current->linear % group_threads;
    for (Held& held : member.held)
        if (held.accumulator->registers[me] == registers) {
            if (held.accumulator->n != n) fail(name_of(*current) + " uses an accumulator in flight for another shape");
            held.last = member.issued;
            return held.accumulator;
        }
    Accumulator* own = product ? product->accumulator : nullptr;
    if (!own) {
        for (Accumulator& candidate : group.accumulators)
            if (!candidate.owners) own = &candidate;
        if (!own) own = &group.accumulators.emplace_back();
        own->n = n;
        own->values.assign(size_t(rows) * n, 0.0f);
        std::fill(own->registers, own->registers + group_threads, nullptr);
        own->owners = 0;
    }
    own->registers[me] = registers;
    ++own->owners;
    ++registers_in_flight;
    for (unsigned r = 0; r < n / 2; ++r) {
        own->values[place_in(n, me, r)] = registers[r];
        registers[r] = __uint_as_float(~0u);
    }
    member.held.push_back({own, member.issued});
    return own;
}

}  // namespace

void begin_block_of_matrices() {
    registers_in_flight = 0;
    groups.clear();
    groups.resize(launch.threads.size() / group_threads);
    members.assign(launch.threads.size(), {});
}

unsigned shared_address(const void* pointer) {
    return unsigned(static_cast<const char*>(pointer) - static_cast<const char*>(dynamic_shared_memory()));
}

void matrix_fence() { members[current->linear].fenced = true; }

void matrix_multiply(MatrixKind kind, float* accumulator, uint64_t a, uint64_t b, bool accumulate, Site site) {
    clocks.turn_on();
    if (!dynamic_shared_memory()) fail("a matrix product without dynamic shared memory, at " + text_of(site));
    if (current->linear / group_threads >= groups.size())
        fail(name_of(*current) + " issues a matrix product at " + text_of(site) + " without a whole warpgroup");
    Group& group = group_of(*current);
    Member& member = members[current->linear];
    if (!member.fenced)
        fail("missing fence: " + name_of(*current) + " issues a matrix product at " + text_of(site) +
             " without a wgmma_fence since its last commit");
    bool first = member.issued == group.products.size();
    if (first) group.products.push_back({kind, a, b, accumulate, site, nullptr, 0, 0, false, {}});
    Product& product = group.products[member.issued];
    if (!(product.kind == kind) || product.a != a || product.b != b || product.accumulate != accumulate ||
        !(product.site == site))
        fail(name_of(*current) + " issues another matrix product at " + text_of(site) +
             " than the rest of its warpgroup at " + text_of(product.site));
    Accumulator* own = take_accumulator(group, member, kind.n, accumulator, first ? nullptr : &product);
    if (!first && own != product.accumulator)
        fail(name_of(*current) + " continues another accumulator at " + text_of(site) + " than its warpgroup");
    product.accumulator = own;
    ++member.issued;
    if (launch.checked) {
        const uint32_t* mine = clocks.view(current->linear);
        if (first) product.view.assign(clocks.agents, ~0u);
        for (unsigned i = 0; i < clocks.agents; ++i)
            if (i != current->linear) product.view[i] = std::min(product.view[i], mine[i]);
    }
    if (++product.issued < group_threads) return;
    product.time = clocks.time;
    if (launch.checked) {
        // What the products of this warpgroup did before, this one comes after.
        product.view[clocks.group_agent(current->linear / group_threads)] = ~0u;
        check_operand(product, a, rows, kind.a_transposed);
        check_operand(product, b, kind.n, kind.b_transposed);
        product.view = {};
    }
    ++clocks.time;
    if (!launch.late_copies) perform(product);
    for (unsigned i = 0; i < group_threads; ++i) {
        Thread& other = launch.threads[current->linear / group_threads * group_threads + i];
        if (other.state == State::in_group) other.state = State::runnable;
    }
}

void matrix_commit() {
    Member& member = members[current->linear];
    member.commits.push_back(member.issued);
    member.fenced = false;
}

void matrix_wait(unsigned pending) {
    Member& member = members[current->linear];
    if (member.commits.size() <= pending) return;
    size_t retired = member.commits[member.commits.size() - pending - 1];
    member.commits.erase(member.commits.begin(), member.commits.end() - pending);
    if (retired == member.retired) return;
    Group& group = group_of(*current);
    Product& last = group.products[retired - 1];
    while (last.issued < group_threads) {
        current->site = last.site;
        current->state = State::in_group;
        give_way();
    }
    for (size_t i = member.retired; i < retired; ++i) perform(group.products[i]);
    member.retired = retired;
    uint32_t& known = clocks.view(current->linear)[clocks.group_agent(current->linear / group_threads)];
    known = std::max(known, last.time);
    unsigned me = current->linear % group_threads;
    for (size_t i = member.held.size(); i-- > 0;) {
        Accumulator& own = *member.held[i].accumulator;
        if (member.held[i].last >= retired) continue;
        for (unsigned r = 0; r < own.n / 2; ++r) own.registers[me][r] = own.values[place_in(own.n, me, r)];
        own.registers[me] = nullptr;
        --own.owners;
        --registers_in_flight;
        member.held.erase(member.held.begin() + long(i));
    }
}

std::string unfinished_products(const Thread& thread) {
    if (thread.linear >= members.size() || members[thread.linear].held.empty()) return "";
    return name_of(thread) + " ended with a matrix product in flight: it was issued at " +
           text_of(group_of(thread).products[members[thread.linear].issued - 1].site) + " and never waited for";
}

void touch_registers(const char* address, size_t bytes, const char* verb, const void* code) {
    for (const Held& held : members[current->linear].held) {
        auto* start = reinterpret_cast<const char*>(held.accumulator->registers[current->linear % group_threads]);
        if (address + bytes <= start || address >= start + held.accumulator->n / 2 * sizeof(float)) continue;
        fail("missing wait: " + name_of(*current) + " " + verb + " registers at " + place_of_code(code) +
             " that belong to the matrix product issued at " +
             text_of(group_of(*current).products[held.last].site));
    }
}

}  // namespace emulator
