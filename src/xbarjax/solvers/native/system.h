// Inputs and outputs of the kernel, for one network. Arrays are contiguous: nodes `(rows, cols)`,
// segments of rows `(rows, cols + 1)`, segments of columns `(rows + 1, cols)`. A null pointer
// stands for no array.
#pragma once

#include <cstddef>
#include <cstdint>

#include "team.h"

namespace xbarjax {

template <class T>
struct System {
  int rows, cols;
  const T *r_row, *r_col;           // [ohm] of segments, 0 to inf
  const T *g_rc, *g_cr;             // [S] of cells that are no shorts; g_cr null if equal to g_rc
  const T *shunt_row, *shunt_col;   // [S] from every node to its reference
  const T *alpha, *beta, *cap;      // of shorts (network.py, `Shorts`)
  bool hangs;                       // whether there are weakly held nodes
  // settings of the solve
  double rtol;                      // relative tolerance of a solve
  int64_t max_steps;                // most iterations of a pass
  bool mixed;                       // whether float64 systems are first iterated in float32
  bool refine;                      // whether to refine for shorts and weakly held nodes
  int hats_rows, hats_cols;         // coarse-grid hat functions, 0 for no grid
  double slow;                      // N^2 r g above which the coarse grid is used
  bool sound;                       // true only if no near wire is broken and no node is pinned
  bool transposed;                  // whether cells put two currents into their nodes (network.py)

  // Conductance [S] of a cell from its row node or column node to the reference.
  T own_row(size_t k) const { return transposed || !g_cr ? g_rc[k] : g_cr[k]; }
  T own_col(size_t k) const { return transposed && g_cr ? g_cr[k] : g_rc[k]; }
};

// A network to be searched for islands and shorts before it is solved.
template <class T>
struct Parts {
  int rows, cols;
  bool parallel;                   // whether lines of the row family run along the columns
  const T *r_row, *r_col;          // [ohm] of segments
  const T *g_rc, *g_cr;            // [S] of cells
  const T *shunt_row, *shunt_col;  // [S], null for none
};

// A right-hand side, as `Field` in network.py.
template <class T>
struct Given {
  const T *row, *row_segments, *col, *col_segments, *cell;
  const T *guess;  // column drops to begin from
  double rtol;     // tolerance of this solve, if larger than that of the system
};

// Where a solution is written.
template <class T>
struct Found {
  T *row, *row_segments, *col, *col_segments, *cell;
  int32_t *steps;
  T *error;  // [V], bound of the error of any node
};

// A solution to be judged (judgement.py). `left` is the residual of Kirchhoff's and Ohm's laws or,
// with `of_vector`, the right-hand side that was solved for.
template <class T>
struct Claim {
  int rows, cols;
  bool parallel, of_vector;
  const T *r_row, *r_col, *g_rc, *g_cr, *shunt_row, *shunt_col, *alpha, *beta, *cap;  // see System
  const bool* open;  // shorts that may share their current with ideal wires
  struct { const T *row, *row_segments, *col, *col_segments, *cell; } left;
  const T *row, *row_segments, *col, *col_segments, *cell;  // the solution
  const T* injected;                       // [A] into nodes
  const T *v_row, *v_col, *e_row, *e_col;  // [V] of references, electromotive forces in segments
  const T* sources;                        // [V]
  size_t count;                            // number of sources
  T error;                                 // [V], bound of the error of any node
};

// Where the judgement of a solution is written.
template <class T>
struct Verdict {
  T* residual;
  int32_t* status;
  bool *split, *lost;  // shorts whose current is undetermined, and whose law does not hold
};

// Solves networks one after another, in memory of its own.
template <class T>
class Solver {
 public:
  virtual ~Solver() = default;
  virtual void prepare(const System<T>&, Team&) = 0;
  virtual void solve(const Given<T>&, const Found<T>&, Team&) = 0;
};

// A circuit of linear cells that depend on `v_row - v_col` alone, before any preparation
// (circuit.py): islands are not cut out, and shorts are ordinary cells.
template <class T>
struct Circuit {
  System<T> system;                  // wires, cells and shunts, and settings of the solve
  const T *e_row, *e_col;            // [V], electromotive forces in segments
  const T *v_row, *v_col, *sources;  // [V] of references and sources
  size_t count;                      // number of sources
  const T* guess;                    // column drops to begin from
};

// Where the results of a read are written (at_once.py).
template <class T>
struct Answer {
  T *row, *i_row, *col, *i_col, *i_cell;  // [V] drops, [A] of segments and cells
  bool *floating_row, *floating_col;      // nodes of islands
  bool *split_row, *split_col;            // ideal lines whose current could leave at either end
  bool *split, *lost;                     // shorts, as in Verdict
  T* residual;
  int32_t *status, *steps;
};

// Reads circuits one after another, in memory of its own.
template <class T>
class Reader {
 public:
  virtual ~Reader() = default;
  // Prepares to solve the network of a circuit. `same_wires`: whether its wires are those of the
  // last circuit.
  virtual void look(const Circuit<T>&, bool same_wires, Team&) = 0;
  // Reads a circuit of the prepared network.
  virtual void read(const Circuit<T>&, const Answer<T>&, Team&) = 0;
};

// A circuit of nonlinear cells at a point of Newton's method (turns.py): the circuit without its
// cells, and the tangents of the cells at the point.
template <class T>
struct Frame {
  System<T> system;                            // without cells
  const T *i_row, *i_col;                      // [A] of shunts at zero drops
  const T *e_row, *e_col;                      // [V], electromotive forces in segments
  const T *v_row, *v_col, *sources;            // [V] of references and sources
  size_t count;                                // number of sources
  const T *current, *g_row, *g_col;            // tangents: [A], [S]
  bool symmetric;
  double rtol;                                 // of Newton's method
  int64_t most;                                // most linearisations
};

// State of Newton's method (turns.py, `State`). A turn writes over it.
template <class T>
struct State {
  T *a, *w;
  Found<T> x;
  T *i, *g_cr, *g_rc, *here_a, *here_w, *here_i;
  Found<T> best;
  T *near, *far, *off, *rho_row, *rho_col;
  bool* floating;
  T *low, *high, *first, *last, *asked, *missed, *least;
  bool *is_x, *out, *converged, *ended;
  int32_t *look, *looked, *idle, *steps, *linear_steps;
};

}  // namespace xbarjax
