// What those cells of vendors do that Yosys knows by name alone; tests/netlist.py puts these in their places.

// A block of RAM: 2,048 bytes of BYTE bits. A port of WIDTH bits is a part of a byte, one byte, or two or four of them, which
// then have an enable each in the low bits of the address. A read gives what was there before the edge of the clock. A port
// that writes reads nothing (MODE 0), the new bytes (1) or the old ones (2). With REG what was read comes a clock later, through a register of its own enable OCE.
module BLOCK_RAM #(
  parameter BYTE = 9, WIDTH_A = 18, WIDTH_B = 18, MODE_A = 0, MODE_B = 0, REG_A = 0, REG_B = 0,
  parameter [18431:0] INIT = 0
) (
  input CLKA, CEA, OCEA, WEA, input [13:0] ADA, input [35:0] DIA, output [35:0] DOA,
  input CLKB, CEB, OCEB, WEB, input [13:0] ADB, input [35:0] DIB, output [35:0] DOB
);
  reg [8:0] bytes [0:2047];
  generate
    if (INIT != 0) begin : begins  // thousands of statements, for memories that begin with something
      integer n;
      initial for (n = 0; n < 2048; n = n + 1) bytes[n] = INIT[9 * n +: 9];
    end
  endgenerate
  reg [35:0] reada = 0, readb = 0, latera = 0, laterb = 0;
  assign DOA = REG_A ? latera : reada;
  assign DOB = REG_B ? laterb : readb;
  always @(posedge CLKA) if (OCEA) latera <= reada;
  always @(posedge CLKB) if (OCEB) laterb <= readb;

  `define PORT(side, CLK, CE, WE, AD, DI, DO, WIDTH, MODE) \
    if (WIDTH < BYTE) begin : side \
      wire [2:0] first = AD[2:0] & ~(WIDTH - 1); \
      always @(posedge CLK) if (CE) begin \
        if (WE) bytes[AD[13:3]][first +: WIDTH] <= DI[WIDTH - 1:0]; \
        if (!WE || MODE == 2) DO[WIDTH - 1:0] <= bytes[AD[13:3]][first +: WIDTH]; \
        else if (MODE == 1) DO[WIDTH - 1:0] <= DI[WIDTH - 1:0]; \
      end \
    end else begin : side \
      genvar k; \
      for (k = 0; k < WIDTH / BYTE; k = k + 1) begin : part \
        wire [10:0] at = WIDTH / BYTE == 4 ? {AD[13:5], 2'b00} + k : WIDTH / BYTE == 2 ? {AD[13:4], 1'b0} + k : AD[13:3]; \
        wire writes = WE & (WIDTH == BYTE || AD[k]); \
        always @(posedge CLK) if (CE) begin \
          if (writes) bytes[at][BYTE - 1:0] <= DI[BYTE * k +: BYTE]; \
          if (writes && MODE == 1) DO[BYTE * k +: BYTE] <= DI[BYTE * k +: BYTE]; \
          else if (!WE || MODE != 0) DO[BYTE * k +: BYTE] <= bytes[at][BYTE - 1:0]; \
        end \
      end \
    end

  generate
    `PORT(a, CLKA, CEA, WEA, ADA, DIA, reada, WIDTH_A, MODE_A)
    `PORT(b, CLKB, CEB, WEB, ADB, DIB, readb, WIDTH_B, MODE_B)
  endgenerate
endmodule

// A register with an enable and a reset, or a wire.
module REGISTER #(parameter WIDTH = 18, REG = 0) (
  input CLK, CE, RST, input [WIDTH - 1:0] D, output [WIDTH - 1:0] Q
);
  reg [WIDTH - 1:0] later = 0;
  always @(posedge CLK) if (RST) later <= 0; else if (CE) later <= D;
  assign Q = REG ? later : D;
endmodule

// With REG_A, REG_B and REG_P factors and product come a clock later.
module MULTIPLIER #(parameter WIDTH = 18, REG_A = 0, REG_B = 0, REG_P = 0) (
  input CLK, CE_A, RST_A, CE_B, RST_B, CE_P, RST_P,
  input [WIDTH - 1:0] A, B, input SIGNEDA, SIGNEDB, output [2 * WIDTH - 1:0] P
);
  wire [WIDTH - 1:0] ra, rb;
  REGISTER #(.WIDTH(WIDTH), .REG(REG_A)) reg_a (.CLK(CLK), .CE(CE_A), .RST(RST_A), .D(A), .Q(ra));
  REGISTER #(.WIDTH(WIDTH), .REG(REG_B)) reg_b (.CLK(CLK), .CE(CE_B), .RST(RST_B), .D(B), .Q(rb));
  wire signed [WIDTH:0] a = {SIGNEDA & ra[WIDTH - 1], ra};
  wire signed [WIDTH:0] b = {SIGNEDB & rb[WIDTH - 1], rb};
  wire [2 * WIDTH - 1:0] now = a * b;
  REGISTER #(.WIDTH(2 * WIDTH), .REG(REG_P)) reg_p (.CLK(CLK), .CE(CE_P), .RST(RST_P), .D(now), .Q(P));
endmodule

// A large memory of an iCE40UP5K: one port, which reads what was there or writes.
module SB_SPRAM256KA (
  input [13:0] ADDRESS, input [15:0] DATAIN, input [3:0] MASKWREN, input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF,
  output reg [15:0] DATAOUT
);
  reg [15:0] words [0:16383];
  integer n;
  always @(posedge CLOCK) if (CHIPSELECT) begin
    if (WREN) begin
      for (n = 0; n < 4; n = n + 1) if (MASKWREN[n]) words[ADDRESS][4 * n +: 4] <= DATAIN[4 * n +: 4];
    end else DATAOUT <= words[ADDRESS];
  end
endmodule
