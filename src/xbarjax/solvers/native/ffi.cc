// The kernel as custom calls of XLA, for batches of networks. All operands have the same number of
// leading axes, those of the batch. The size of a leading axis is 1 if the batch shares the
// operand.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "system.h"
#include "xla/ffi/api/ffi.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace ffi = xla::ffi;

namespace xbarjax {

#define XBARJAX_OF(T)                                                 \
  std::unique_ptr<Solver<T>> make(T);                                 \
  std::unique_ptr<Reader<T>> make_reader(T);                          \
  void judge(const Claim<T>&, const Verdict<T>&, Team&);              \
  void turn(const Frame<T>&, const State<T>&, Solver<T>&, Team&);     \
  void look_at_islands(const Parts<T>&, bool* row, bool* col, bool*); \
  void look_at_kinds(const Parts<T>&, bool* shorts, T* cap, bool*);
#define XBARJAX_WIDTH(name) \
  namespace name {          \
  XBARJAX_OF(float)         \
  XBARJAX_OF(double)        \
  }
XBARJAX_WIDTH(plain)
#ifdef XBARJAX_X86
XBARJAX_WIDTH(avx2)
XBARJAX_WIDTH(avx512)
#endif

namespace {

enum Width { kPlain, kAvx2, kAvx512 };

Width width() {
#ifdef XBARJAX_X86
  static const Width found = [] {
    const char* asked = std::getenv("XBARJAX_WIDTH");
    const std::string name = asked ? asked : "";
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (name == "plain" || !avx2) return kPlain;
    if (name == "avx2" || !avx512) return kAvx2;
    return kAvx512;
  }();
  return found;
#else
  return kPlain;
#endif
}

// Dispatch to the kernel in the vector width of this machine.
#ifdef XBARJAX_X86
#define XBARJAX_HERE(call)                            \
  if (width() == kAvx512) return avx512::call;        \
  if (width() == kAvx2) return avx2::call;            \
  return plain::call
#else
#define XBARJAX_HERE(call) return plain::call
#endif

template <class T>
std::unique_ptr<Solver<T>> make() { XBARJAX_HERE(make(T())); }
template <class T>
std::unique_ptr<Reader<T>> make_reader() { XBARJAX_HERE(make_reader(T())); }
template <class T>
void judge(const Claim<T>& claim, const Verdict<T>& to, Team& team) {
  XBARJAX_HERE(judge(claim, to, team));
}
template <class T>
void turn(const Frame<T>& frame, const State<T>& state, Solver<T>& solver, Team& team) {
  XBARJAX_HERE(turn(frame, state, solver, team));
}
template <class T>
void islands(const Parts<T>& parts, bool* row, bool* col, bool* hangs) {
  XBARJAX_HERE(look_at_islands(parts, row, col, hangs));
}
template <class T>
void kinds(const Parts<T>& parts, bool* shorts, T* cap, bool* open) {
  XBARJAX_HERE(look_at_kinds(parts, shorts, cap, open));
}

// An operand, and its strides along the axes of the batch.
struct Operand {
  const void* data = nullptr;
  std::vector<size_t> strides;
  size_t size = 1;  // elements per system
  size_t at(const std::vector<int64_t>& index) const {
    size_t offset = 0;
    for (size_t k = 0; k < strides.size(); ++k) offset += strides[k] * size_t(index[k]);
    return offset;
  }
};

Operand operand(const ffi::AnyBuffer& buffer, size_t lead) {
  Operand made;
  made.data = buffer.untyped_data();
  auto dims = buffer.dimensions();
  for (size_t k = lead; k < dims.size(); ++k) made.size *= size_t(dims[k]);
  size_t size = made.size;
  made.strides.resize(lead);
  for (size_t k = lead; k-- > 0;) {
    made.strides[k] = dims[k] == 1 ? 0 : size;
    size *= size_t(dims[k]);
  }
  return made;
}

// Runs `lead` on this thread and `help` on up to `helpers` threads of a pool, and waits for the
// helpers that have begun. A helper that begins after `lead` is done returns at once, so a busy
// pool is not waited for.
template <class Help, class Lead>
void together(ffi::ThreadPool& pool, size_t helpers, Help help, Lead lead) {
  struct Gate {
    std::mutex lock;
    std::condition_variable empty;
    int inside = 0;
    bool closed = false;
  };
  auto gate = std::make_shared<Gate>();
  for (size_t k = 0; k < helpers; ++k)
    pool.Schedule([gate, help] {
      {
        std::lock_guard<std::mutex> hold(gate->lock);
        if (gate->closed) return;
        ++gate->inside;
      }
      help();
      std::lock_guard<std::mutex> hold(gate->lock);
      if (--gate->inside == 0) gate->empty.notify_all();
    });
  lead();
  std::unique_lock<std::mutex> hold(gate->lock);
  gate->closed = true;
  gate->empty.wait(hold, [&] { return gate->inside == 0; });
}

// Advises large pages for large results: faulting in fresh memory in small pages takes longer than
// computing the results.
void in_large_pages(char* data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t PAGE = uintptr_t(1) << 21;
  const uintptr_t at = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (at + PAGE - 1) / PAGE * PAGE, end = (at + bytes) / PAGE * PAGE;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// The operands and results of a call.
struct Call {
  size_t lead, count = 1;
  std::vector<Operand> parts;  // by name; without data if the operand is absent
  std::vector<int64_t> batch;
  std::vector<size_t> axes;  // of the batch, in the order of systems, outermost first
  std::vector<char*> results;
  std::vector<size_t> sizes;  // bytes of each result per system
  int rows = 0, cols = 0;

  Call(int64_t lead) : lead(size_t(lead)) {}

  // Reads all buffers. `names`: number of names; `nodes`: name of an operand `(rows, cols)`;
  // `sharing`: how many of the first names make a network; `given`: bit mask of the names that have
  // an operand.
  ffi::Error read(int names, int nodes, int sharing, int64_t given, ffi::RemainingArgs& args,
                  ffi::RemainingRets& rets) {
    parts.resize(size_t(names));
    size_t next = 0;
    for (int name = 0; name < names; ++name) {
      if (!(given >> name & 1)) continue;
      auto buffer = args.get<ffi::AnyBuffer>(next++);
      if (!buffer.has_value()) return ffi::Error::InvalidArgument("an operand is missing");
      parts[size_t(name)] = operand(*buffer, lead);
      auto dims = buffer->dimensions();
      if (name == nodes) rows = int(dims[lead]), cols = int(dims[lead + 1]);
    }
    order(sharing);
    for (size_t k = 0; k < rets.size(); ++k) {
      auto buffer = rets.get<ffi::AnyBuffer>(k);
      if (!buffer.has_value()) return ffi::Error::InvalidArgument("a result is missing");
      auto dims = (*buffer)->dimensions();
      if (k == 0) {
        batch.assign(dims.begin(), dims.begin() + lead);
        for (int64_t size : batch) count *= size_t(size);
      }
      results.push_back(static_cast<char*>((*buffer)->untyped_data()));
      in_large_pages(results.back(), (*buffer)->size_bytes());
      sizes.push_back(count ? (*buffer)->size_bytes() / count : 0);
    }
    return ffi::Error::Success();
  }

  // Sets the order of systems: those that share the first `names` operands are neighbours.
  void order(int names) {
    std::vector<size_t> shared;
    axes.clear();
    for (size_t axis = 0; axis < lead; ++axis) {
      bool own = false;
      for (int name = 0; name < names; ++name) {
        const Operand& of = parts[size_t(name)];
        own = own || (of.data && of.strides[axis] != 0);
      }
      (own ? axes : shared).push_back(axis);
    }
    axes.insert(axes.end(), shared.begin(), shared.end());
  }

  // Batch index of system number `item` in this order.
  std::vector<int64_t> index(size_t item) const {
    std::vector<int64_t> found(lead);
    for (size_t k = lead; k-- > 0;) {
      const size_t size = size_t(batch[axes[k]]);
      found[axes[k]] = int64_t(item % size);
      item /= size;
    }
    return found;
  }

  template <class T>
  const T* part(int name, const std::vector<int64_t>& index) const {
    const Operand& of = parts[size_t(name)];
    return of.data ? static_cast<const T*>(of.data) + of.at(index) : nullptr;
  }

  template <class T>
  T* result(size_t k, const std::vector<int64_t>& index) const {
    size_t item = 0;
    for (size_t axis = 0; axis < lead; ++axis)
      item = item * size_t(batch[axis]) + size_t(index[axis]);
    return reinterpret_cast<T*>(results[k] + item * sizes[k]);
  }
};

size_t threads_of(ffi::ThreadPool& pool) {
  return size_t(std::max<int64_t>(pool.num_threads(), 1));
}

// Distributes the systems of a batch over threads. `make()` returns a function `one(item)` per
// thread.
template <class Make>
void each(ffi::ThreadPool& pool, size_t count, Make make) {
  auto taken = std::make_shared<std::atomic<size_t>>(0);
  const size_t threads = std::min<size_t>(count, threads_of(pool));
  const size_t chunk = std::max<size_t>(1, count / (std::max<size_t>(threads, 1) * 8));
  auto run = [=] {
    auto one = make();
    for (;;) {
      const size_t begin = taken->fetch_add(chunk);
      if (begin >= count) return;
      for (size_t item = begin; item < std::min(begin + chunk, count); ++item) one(item);
    }
  };
  together(pool, threads ? threads - 1 : 0, run, run);
}

enum Name {
  kRRow, kRCol, kGrc, kGcr, kShuntRow, kShuntCol, kAlpha, kBeta, kCap, kHangs,
  kRow, kRowSegments, kCol, kColSegments, kCell, kGuess, kRtol, kNames
};

// Largest network whose memory is kept from call to call.
constexpr size_t KEPT = size_t(1) << 18;  // nodes

// Smallest network that threads share. In smaller ones they would wait for one another longer than
// they work.
constexpr size_t SHARED = size_t(1) << 13;  // nodes
constexpr size_t MOST = 64;                 // threads; each has memory of its own

// The threads that share one network: more than one only if the batch is a single large network.
std::shared_ptr<Team> team_of(ffi::ThreadPool& pool, const Call& call) {
  const bool large = call.count == 1 && size_t(call.rows) * size_t(call.cols) >= SHARED;
  return std::make_shared<Team>(large ? int(std::min(threads_of(pool), MOST)) : 1);
}

// Distributes the systems of a batch over threads, or the work on one system over a team.
template <class Make>
void shared_out(ffi::ThreadPool& pool, const Call& call, std::shared_ptr<Team> team, Make make) {
  if (team->size() == 1) return each(pool, call.count, make);
  const auto self = std::this_thread::get_id();
  const auto help = [team, self] {  // a full pool may run a scheduled task on the caller's thread
    if (std::this_thread::get_id() != self) team->help();
  };
  together(pool, size_t(team->size()) - 1, help, [&] { make()(0), team->close(); });
}

// A solver or reader for this thread, from `make`. It is kept from call to call for networks of up
// to `KEPT` nodes.
template <class One, class Make>
std::shared_ptr<One> one_of(const Call& call, Make make) {
  if (size_t(call.rows) * size_t(call.cols) > KEPT) return make();
  thread_local std::unique_ptr<One> kept;
  if (!kept) kept = make();
  return std::shared_ptr<One>(kept.get(), [](One*) {});
}

template <class T>
std::shared_ptr<Solver<T>> solver_of(const Call& call) {
  return one_of<Solver<T>>(call, make<T>);
}

// A system with the settings of the solve, still without a network.
template <class T>
System<T> system_of(const Call& call, double rtol, int64_t max_steps, bool mixed,
                    int64_t hats_rows, int64_t hats_cols, double slow) {
  System<T> system{};
  system.rows = call.rows, system.cols = call.cols;
  system.rtol = rtol, system.max_steps = max_steps, system.mixed = mixed;
  system.hats_rows = int(hats_rows), system.hats_cols = int(hats_cols), system.slow = slow;
  return system;
}

template <class T>
ffi::Error call_solve(ffi::ThreadPool pool, int64_t lead, int64_t given, double rtol,
                      int64_t max_steps, bool mixed, int64_t hats_rows, int64_t hats_cols,
                      double slow, bool refine, bool transposed, ffi::RemainingArgs args,
                      ffi::RemainingRets rets) {
  auto call = std::make_shared<Call>(lead);
  if (auto error = call->read(kNames, kGrc, kHangs + 1, given, args, rets); error.failure()) return error;
  const bool with_cell = given >> kCell & 1;
  const auto team = team_of(pool, *call);
  const auto make_one = [=] {
    const std::shared_ptr<Solver<T>> solver = solver_of<T>(*call);
    std::vector<size_t> prepared;
    return [=](size_t item) mutable {
      const auto index = call->index(item);
      const auto of = [&](int name) { return call->template part<T>(name, index); };
      std::vector<size_t> key;
      for (int name = 0; name <= kHangs; ++name)
        key.push_back(call->parts[size_t(name)].at(index));
      if (prepared != key) {
        System<T> system =
            system_of<T>(*call, rtol, max_steps, mixed, hats_rows, hats_cols, slow);
        system.r_row = of(kRRow), system.r_col = of(kRCol);
        system.g_rc = of(kGrc), system.g_cr = of(kGcr), system.transposed = transposed;
        system.shunt_row = of(kShuntRow), system.shunt_col = of(kShuntCol);
        system.alpha = of(kAlpha), system.beta = of(kBeta), system.cap = of(kCap);
        const bool* hangs = call->template part<bool>(kHangs, index);
        system.hangs = hangs && *hangs;
        system.refine = refine;
        solver->prepare(system, *team);
        prepared = std::move(key);
      }
      Given<T> b{of(kRow),  of(kRowSegments), of(kCol), of(kColSegments), of(kCell),
                 of(kGuess), 0};
      if (const T* asked = of(kRtol)) b.rtol = double(*asked);
      Found<T> x{};
      T** where[] = {&x.row, &x.row_segments, &x.col, &x.col_segments, &x.cell};
      const size_t fields = with_cell ? 5 : 4;
      for (size_t k = 0; k < fields; ++k) *where[k] = call->template result<T>(k, index);
      x.steps = call->template result<int32_t>(fields, index);
      x.error = call->template result<T>(fields + 1, index);
      solver->solve(b, x, *team);
    };
  };
  shared_out(pool, *call, team, make_one);
  return ffi::Error::Success();
}

enum ReadName {
  kReadRRow, kReadRCol, kReadG, kTapRow, kTapCol, kReadERow, kReadECol, kReadVRow, kReadVCol,
  kReadSources, kReadGuess, kReadNames
};

template <class T>
ffi::Error call_read(ffi::ThreadPool pool, int64_t lead, int64_t given, double rtol,
                     int64_t max_steps, bool mixed, int64_t hats_rows, int64_t hats_cols,
                     double slow, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  auto call = std::make_shared<Call>(lead);
  if (auto error = call->read(kReadNames, kReadG, kTapCol + 1, given, args, rets); error.failure())
    return error;
  const auto team = team_of(pool, *call);
  const auto make_one = [=] {
    const std::shared_ptr<Reader<T>> reader = one_of<Reader<T>>(*call, make_reader<T>);
    std::vector<size_t> seen;
    return [=](size_t item) mutable {
      const auto index = call->index(item);
      const auto of = [&](int name) { return call->template part<T>(name, index); };
      System<T> system = system_of<T>(*call, rtol, max_steps, mixed, hats_rows, hats_cols, slow);
      system.r_row = of(kReadRRow), system.r_col = of(kReadRCol), system.g_rc = of(kReadG);
      system.shunt_row = of(kTapRow), system.shunt_col = of(kTapCol);
      const Circuit<T> circuit{system,        of(kReadERow),    of(kReadECol),
                               of(kReadVRow), of(kReadVCol),    of(kReadSources),
                               call->parts[kReadSources].size,  of(kReadGuess)};
      std::vector<size_t> key;
      for (int name = 0; name <= kTapCol; ++name)
        key.push_back(call->parts[size_t(name)].at(index));
      if (seen != key) {
        const bool same_wires =
            !seen.empty() && std::equal(key.begin(), key.begin() + 2, seen.begin());
        reader->look(circuit, same_wires, *team);
        seen = std::move(key);
      }
      const auto number = [&](size_t k) { return call->template result<T>(k, index); };
      const auto flag = [&](size_t k) { return call->template result<bool>(k, index); };
      const Answer<T> answer{number(0), number(1), number(2), number(3), number(4), flag(5),
                             flag(6),   flag(7),   flag(8),   flag(9),   flag(10),  number(11),
                             call->template result<int32_t>(12, index),
                             call->template result<int32_t>(13, index)};
      reader->read(circuit, answer, *team);
    };
  };
  shared_out(pool, *call, team, make_one);
  return ffi::Error::Success();
}

enum JudgeName {
  kJudgeRRow, kJudgeRCol, kJudgeGrc, kJudgeGcr, kJudgeShuntRow, kJudgeShuntCol, kJudgeAlpha,
  kJudgeBeta, kJudgeCap, kJudgeOpen, kLeftRow, kLeftRowSegments, kLeftCol, kLeftColSegments,
  kLeftCell, kXRow, kXRowSegments, kXCol, kXColSegments, kXCell, kInjected, kVRow, kVCol, kERow,
  kECol, kSources, kError, kJudgeNames
};

template <class T>
ffi::Error call_judge(ffi::ThreadPool pool, int64_t lead, int64_t given, bool parallel,
                      bool of_vector, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  auto call = std::make_shared<Call>(lead);
  if (auto error = call->read(kJudgeNames, kJudgeGrc, kJudgeOpen + 1, given, args, rets);
      error.failure())
    return error;
  const auto team = team_of(pool, *call);
  const auto make_one = [=] {
    return [=](size_t item) {
      const auto index = call->index(item);
      const auto of = [&](int name) { return call->template part<T>(name, index); };
      const Claim<T> claim{
          call->rows, call->cols, parallel, of_vector,
          of(kJudgeRRow), of(kJudgeRCol), of(kJudgeGrc), of(kJudgeGcr), of(kJudgeShuntRow),
          of(kJudgeShuntCol), of(kJudgeAlpha), of(kJudgeBeta), of(kJudgeCap),
          call->template part<bool>(kJudgeOpen, index),
          {of(kLeftRow), of(kLeftRowSegments), of(kLeftCol), of(kLeftColSegments), of(kLeftCell)},
          of(kXRow), of(kXRowSegments), of(kXCol), of(kXColSegments), of(kXCell), of(kInjected),
          of(kVRow), of(kVCol), of(kERow), of(kECol), of(kSources), call->parts[kSources].size, *of(kError)};
      const bool shorts = claim.alpha != nullptr;
      judge(claim,
            Verdict<T>{call->template result<T>(0, index),
                       call->template result<int32_t>(1, index),
                       shorts ? call->template result<bool>(2, index) : nullptr,
                       shorts ? call->template result<bool>(3, index) : nullptr},
            *team);
    };
  };
  shared_out(pool, *call, team, make_one);
  return ffi::Error::Success();
}

enum TurnName {
  kTurnRRow, kTurnRCol, kTurnShuntRow, kTurnShuntCol, kTurnIRow, kTurnICol, kTurnERow, kTurnECol,
  kTurnVRow, kTurnVCol, kTurnSources, kCurrent, kGRow, kGCol, kState, kStates = 38
};

template <class T>
ffi::Error call_turn(ffi::ThreadPool pool, int64_t lead, int64_t given, double rtol,
                     int64_t max_steps, bool mixed, int64_t hats_rows, int64_t hats_cols,
                     double slow, double newton_rtol, int64_t most, bool symmetric,
                     ffi::RemainingArgs args, ffi::RemainingRets rets) {
  auto call = std::make_shared<Call>(lead);
  if (auto error = call->read(kState + kStates, kCurrent, kTurnRCol + 1, given, args, rets);
      error.failure())
    return error;
  const auto team = team_of(pool, *call);
  const auto make_one = [=] {
    const std::shared_ptr<Solver<T>> solver = solver_of<T>(*call);
    return [=](size_t item) {
      const auto index = call->index(item);
      const auto of = [&](int name) { return call->template part<T>(name, index); };
      System<T> system = system_of<T>(*call, rtol, max_steps, mixed, hats_rows, hats_cols, slow);
      system.r_row = of(kTurnRRow), system.r_col = of(kTurnRCol);
      system.shunt_row = of(kTurnShuntRow), system.shunt_col = of(kTurnShuntCol);
      const Frame<T> frame{system,         of(kTurnIRow),  of(kTurnICol), of(kTurnERow),
                           of(kTurnECol),  of(kTurnVRow),  of(kTurnVCol), of(kTurnSources),
                           call->parts[kTurnSources].size, of(kCurrent),  of(kGRow),
                           of(kGCol),      symmetric,      newton_rtol,   most};
      int next = 0;
      const auto copied = [&] {  // the old state, of which a turn overwrites a part
        char* to = call->template result<char>(size_t(next), index);
        const Operand& from = call->parts[size_t(kState + next)];
        const size_t bytes = call->sizes[size_t(next)];
        const char* source = static_cast<const char*>(from.data) + from.at(index) * (bytes / from.size);
        if (source != to) std::memcpy(to, source, bytes);
        ++next;
        return to;
      };
      const auto number = [&](auto*& to) { to = reinterpret_cast<std::decay_t<decltype(to)>>(copied()); };
      State<T> state{};
      number(state.a), number(state.w);
      for (Found<T>* x : {&state.x, &state.best}) {
        if (x == &state.best)
          for (T** to : {&state.i, &state.g_cr, &state.g_rc, &state.here_a, &state.here_w, &state.here_i})
            number(*to);
        number(x->row), number(x->row_segments), number(x->col), number(x->col_segments);
      }
      for (T** to : {&state.near, &state.far, &state.off, &state.rho_row, &state.rho_col}) number(*to);
      number(state.floating);
      for (T** to : {&state.low, &state.high, &state.first, &state.last, &state.asked, &state.missed,
                     &state.least})
        number(*to);
      for (bool** to : {&state.is_x, &state.out, &state.converged, &state.ended}) number(*to);
      for (int32_t** to : {&state.look, &state.looked, &state.idle, &state.steps, &state.linear_steps})
        number(*to);
      turn(frame, state, *solver, *team);
    };
  };
  shared_out(pool, *call, team, make_one);
  return ffi::Error::Success();
}

enum PartName { kPartRRow, kPartRCol, kPartGrc, kPartGcr, kPartShuntRow, kPartShuntCol, kPartNames };

template <class T>
Parts<T> parts_of(const Call& call, const std::vector<int64_t>& index, bool parallel) {
  const auto of = [&](int name) { return call.template part<T>(name, index); };
  return {call.rows,      call.cols,      parallel,          of(kPartRRow),    of(kPartRCol),
          of(kPartGrc),   of(kPartGcr),   of(kPartShuntRow), of(kPartShuntCol)};
}

// Searches each network of a batch. `look(parts, call, index)` writes the results.
template <class T, class Look>
ffi::Error look_at_each(ffi::ThreadPool& pool, int64_t lead, int64_t given, bool parallel,
                        ffi::RemainingArgs& args, ffi::RemainingRets& rets, Look look) {
  auto call = std::make_shared<Call>(lead);
  if (auto error = call->read(kPartNames, kPartGrc, kPartNames, given, args, rets); error.failure())
    return error;
  each(pool, call->count, [=] {
    return [=](size_t item) {
      const auto index = call->index(item);
      look(parts_of<T>(*call, index, parallel), *call, index);
    };
  });
  return ffi::Error::Success();
}

template <class T>
ffi::Error call_islands(ffi::ThreadPool pool, int64_t lead, int64_t given, bool parallel,
                        ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const auto look = [](const Parts<T>& parts, const Call& call,
                       const std::vector<int64_t>& index) {
    islands(parts, call.result<bool>(0, index), call.result<bool>(1, index),
            call.result<bool>(2, index));
  };
  return look_at_each<T>(pool, lead, given, parallel, args, rets, look);
}

template <class T>
ffi::Error call_kinds(ffi::ThreadPool pool, int64_t lead, int64_t given, bool parallel,
                      ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const auto look = [](const Parts<T>& parts, const Call& call,
                       const std::vector<int64_t>& index) {
    kinds(parts, call.result<bool>(0, index), call.result<T>(1, index), call.result<bool>(2, index));
  };
  return look_at_each<T>(pool, lead, given, parallel, args, rets, look);
}

// Attributes of every call, and the settings of a solve (`Settings` of batching.py).
#define XBARJAX_CALL           \
  ffi::Ffi::Bind()             \
      .Ctx<ffi::ThreadPool>()  \
      .Attr<int64_t>("lead")   \
      .Attr<int64_t>("given")
#define XBARJAX_SETTINGS           \
      .Attr<double>("rtol")        \
      .Attr<int64_t>("max_steps")  \
      .Attr<bool>("mixed")         \
      .Attr<int64_t>("hats_rows")  \
      .Attr<int64_t>("hats_cols")  \
      .Attr<double>("slow")
#define XBARJAX_BUFFERS .RemainingArgs().RemainingRets()

#define XBARJAX_READ XBARJAX_CALL XBARJAX_SETTINGS XBARJAX_BUFFERS
#define XBARJAX_SOLVE           \
  XBARJAX_CALL XBARJAX_SETTINGS \
      .Attr<bool>("refine")     \
      .Attr<bool>("transposed") XBARJAX_BUFFERS
#define XBARJAX_TURN                \
  XBARJAX_CALL XBARJAX_SETTINGS     \
      .Attr<double>("newton_rtol")  \
      .Attr<int64_t>("most")        \
      .Attr<bool>("symmetric") XBARJAX_BUFFERS
#define XBARJAX_JUDGE \
  XBARJAX_CALL.Attr<bool>("parallel").Attr<bool>("of_vector") XBARJAX_BUFFERS
#define XBARJAX_LOOK XBARJAX_CALL.Attr<bool>("parallel") XBARJAX_BUFFERS

}  // namespace
}  // namespace xbarjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_solve_f32, xbarjax::call_solve<float>, XBARJAX_SOLVE);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_solve_f64, xbarjax::call_solve<double>, XBARJAX_SOLVE);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_read_f32, xbarjax::call_read<float>, XBARJAX_READ);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_read_f64, xbarjax::call_read<double>, XBARJAX_READ);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_judge_f32, xbarjax::call_judge<float>, XBARJAX_JUDGE);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_judge_f64, xbarjax::call_judge<double>, XBARJAX_JUDGE);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_turn_f32, xbarjax::call_turn<float>, XBARJAX_TURN);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_turn_f64, xbarjax::call_turn<double>, XBARJAX_TURN);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_islands_f32, xbarjax::call_islands<float>, XBARJAX_LOOK);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_islands_f64, xbarjax::call_islands<double>, XBARJAX_LOOK);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_kinds_f32, xbarjax::call_kinds<float>, XBARJAX_LOOK);
XLA_FFI_DEFINE_HANDLER_SYMBOL(xbarjax_kinds_f64, xbarjax::call_kinds<double>, XBARJAX_LOOK);

// The vector width that is used on this machine.
extern "C" const char* xbarjax_width() {
  const char* names[] = {"plain", "avx2", "avx512"};
  return names[xbarjax::width()];
}
