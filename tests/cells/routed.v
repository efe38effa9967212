// Cells of an ECP5 after place and route that Yosys has no model of, or one that leaves something out.

// As Yosys has it, but for the carry out, which it declares a second time instead of driving it.
module TRELLIS_COMB #(
  parameter MODE = "LOGIC", INITVAL = 16'h0, CCU2_INJECT1 = "NO", IS_Z1 = 1'b0
) (
  input A, B, C, D, M, FCI, F1, FXA, FXB, WD, WAD0, WAD1, WAD2, WAD3, WRE, WCK, output F, FCO, OFX
);
  wire four = INITVAL[{D, C, B, A}], two = INITVAL[{2'b00, B, A}];
  generate
    if (MODE == "CCU2") begin : ccu2
      wire joined = CCU2_INJECT1 != "YES";
      assign F = four ^ (joined & FCI);
      assign FCO = four ? FCI : joined & two;
    end else if (MODE == "DPRAM") begin : dpram
      reg [15:0] ram = INITVAL;
      always @(posedge WCK) if (WRE) ram[{WAD3, WAD2, WAD1, WAD0}] <= WD;
      assign F = ram[{A, C, B, D}];
      assign FCO = 1'b0;
    end else begin : logic_
      assign F = four;
      assign FCO = 1'b0;
    end
  endgenerate
  assign OFX = M ? (IS_Z1 ? FXB : F1) : (IS_Z1 ? FXA : F);
endmodule

module TRELLIS_RAMW (
  input A0, B0, C0, D0, A1, B1, C1, D1, output WDO0, WDO1, WDO2, WDO3, WADO0, WADO1, WADO2, WADO3
);
  assign {WADO3, WADO2, WADO1, WADO0} = {A0, C0, B0, D0};
  assign {WDO3, WDO2, WDO1, WDO0} = {B1, D1, A1, C1};
endmodule

module DCCA (input CLKI, CE, output CLKO);
  assign CLKO = CLKI;
endmodule
