// Threads that share the work on one network. The work is cut in pieces that do not depend on how
// many threads there are, so neither do its results.
//
// What one core has written another reads slowly, at a tenth of the speed of its own. So the thread
// that leads takes pieces from the last down and those that help from the first up: a piece is mostly
// done where it was done before.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace xbarjax {

class Team {
 public:
  // `size`: the most threads that there can be.
  explicit Team(int size = 1) : size_(size) {}
  int size() const { return size_; }

  // `work(k, member)` for every `k` below `pieces`, on this thread and on those that help. `member`
  // numbers the threads, from 0. Returns when all is done.
  template <class Work>
  void each(int pieces, const Work& work) {
    if (size_ == 1 || pieces == 1) {
      for (int k = 0; k < pieces; ++k) work(k, 0);
      return;
    }
    work_ = [](const void* of, int k, int member) { (*static_cast<const Work*>(of))(k, member); };
    of_ = &work;
    left_.store(pieces, std::memory_order_relaxed);
    round_ = (round_ + 1) % ROUNDS;
    ticket_.store(round_ * ROUND + uint64_t(pieces), std::memory_order_release);
    while (one(0)) {}
    for (int spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins) wait(spins);
  }

  // Helps until `close`.
  void help() {
    const int member = members_.fetch_add(1);
    if (member >= size_) return;
    for (int spins = 0; !closed_.load(std::memory_order_acquire); ++spins)
      if (one(member)) spins = 0;
      else wait(spins);
  }
  void close() { closed_.store(true, std::memory_order_release); }

 private:
  // A ticket holds the number of the round, the first piece that is not taken yet and the end of
  // those, and nothing else: a piece that was taken with it belongs to that round, which does not end
  // before the piece is done.
  static constexpr uint64_t FIRST = uint64_t(1) << 20, ROUND = FIRST * FIRST;
  static constexpr uint64_t ROUNDS = uint64_t(1) << 24;

  // Takes a piece and does it, or finds none.
  bool one(int member) {
    uint64_t seen = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const uint64_t begin = seen / FIRST % FIRST, end = seen % FIRST;
      if (begin == end) return false;
      const bool leads = member == 0;
      if (ticket_.compare_exchange_weak(seen, leads ? seen - 1 : seen + FIRST,
                                        std::memory_order_acq_rel)) {
        work_(of_, int(leads ? end - 1 : begin), member);
        left_.fetch_sub(1, std::memory_order_acq_rel);
        return true;
      }
    }
  }

  static void wait(int spins) {
    if (spins > 4000) {
      std::this_thread::yield();
      return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  int size_;
  uint64_t round_ = 0;
  void (*work_)(const void*, int, int) = nullptr;
  const void* of_ = nullptr;
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> left_{0}, members_{1};
  std::atomic<bool> closed_{false};
};

}  // namespace xbarjax
